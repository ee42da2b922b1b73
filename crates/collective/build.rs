//! Compiles the shim over libtorch's own process groups.

use std::path::PathBuf;

fn main() {
    for path in ["src/shim.h", "src/gloo_shim.cc", "src/device_shim.cc", "gloo-stubs", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = std::env::var_os("LIBTORCH")
        .map(PathBuf::from)
        .expect("LIBTORCH names the directory of libtorch; .cargo/config.toml sets it");
    let include = libtorch.join("include");
    let header = include.join("torch/csrc/distributed/c10d/ProcessGroupGloo.hpp");
    assert!(header.exists(), "{} is missing: install libtorch with scripts/setup", header.display());
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .define("USE_C10D_GLOO", None)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include("gloo-stubs")
        // Not our code: its warnings are not ours to mend.
        .flag(format!("-isystem{}", include.display()))
        .flag(format!("-isystem{}", include.join("torch/csrc/api/include").display()))
        .flag("-Wno-unused-parameter")
        .opt_level(1)
        .file("src/gloo_shim.cc")
        .file("src/device_shim.cc")
        .compile("rewind_collective_shim");
    println!("cargo:rustc-link-search=native={}", libtorch.join("lib").display());
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    println!("cargo:rustc-link-lib=dylib=c10");
}
