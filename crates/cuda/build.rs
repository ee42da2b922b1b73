//! Compiles and links the shared object, and puts it beside the programs.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    for path in ["cuda_shim.cc", "../collective/src/shim.h", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let crate_folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let checkout = crate_folder.ancestors().nth(2).expect("this crate lies in the repository");
    let libtorch = checkout.join(".libtorch-gpu");
    println!("cargo:rerun-if-changed={}", libtorch.join("installed.txt").display());
    assert!(
        libtorch.join("torch/lib/libtorch_cuda.so").exists(),
        "{} holds no libtorch for GPUs: install it with `scripts/setup --for cuda`",
        libtorch.display()
    );
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("librewind_cuda.so");
    compile(&libtorch, &object);
    // target/debug, where the programs are.
    let programs = object.ancestors().nth(4).expect("OUT_DIR lies in target/debug/build");
    // Whole, and another file than before: the old one may be in use, or be linked to.
    let new = programs.join("librewind_cuda.so.new");
    std::fs::copy(&object, &new).expect("target/debug can be written");
    std::fs::rename(&new, programs.join("librewind_cuda.so")).expect("target/debug can be written");
}

fn compile(libtorch: &Path, object: &Path) {
    let include = |folder: &str| format!("-isystem{}", libtorch.join(folder).display());
    let status = Command::new(env::var_os("CXX").unwrap_or_else(|| "g++".into()))
        .args(["-std=c++20", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wno-unused-parameter"])
        .args(["-DUSE_C10D_NCCL", "-D_GLIBCXX_USE_CXX11_ABI=1"])
        .arg(include("torch/include"))
        .arg(include("torch/include/torch/csrc/api/include"))
        .arg(include("nvidia/cu13/include"))
        .arg(include("nvidia/cu13/include/cccl"))
        .arg(include("nvidia/nccl/include"))
        .args(["cuda_shim.cc", "-o"])
        .arg(object)
        .arg(format!("-L{}", libtorch.join("torch/lib").display()))
        // A name that is in none of them fails the build.
        .args(["-ltorch_cuda", "-lc10_cuda", "-ltorch_cpu", "-lc10", "-Wl,-z,defs"])
        .status();
    let status = status.unwrap_or_else(|error| panic!("the C++ compiler does not run: {error}"));
    assert!(status.success(), "the C++ compiler failed: {status}");
}
