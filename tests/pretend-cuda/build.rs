//! Compiles the pretend device into a library that a program opens at run time.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

/// libtorch's table of its operations, which its wheel carries beside it.
const OPERATIONS: &str = "../torchgen/packaged/ATen/native/native_functions.yaml";
const SOURCES: [&str; 4] = ["src/device.cc", "src/memory.cc", "src/operators.cc", "src/views.cc"];

fn main() {
    for source in SOURCES.iter().chain(&["src/pretend_cuda.h", "src/views.h"]) {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = env::var_os("LIBTORCH")
        .map(PathBuf::from)
        .expect("LIBTORCH names the directory of libtorch; .cargo/config.toml sets it");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    write_operations(&libtorch.join(OPERATIONS), &out);

    let include = libtorch.join("include");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .pic(true)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include(&out)
        // Not our code: its warnings are not ours to mend.
        .flag(format!("-isystem{}", include.display()))
        .flag(format!("-isystem{}", include.join("torch/csrc/api/include").display()))
        .opt_level(1)
        .files(SOURCES);
    let objects = build.compile_intermediates();
    let mut link = build.get_compiler().to_command();
    link.arg("-shared").args(&objects).arg("-o").arg(out.join("libpretend_cuda.so"));
    link.arg(format!("-L{}", libtorch.join("lib").display())).args(["-ltorch_cpu", "-lc10"]);
    let status = link.status().expect("the compiler runs");
    assert!(status.success(), "{link:?} ended with {status}");
    // Beside the programs, where `make test` names it to them.
    let programs = out.ancestors().nth(3).expect("OUT_DIR lies in target/debug/build");
    // Whole, and another file than before: the old one may be in use, or be linked to.
    let new = programs.join("libpretend_cuda.so.new");
    fs::copy(out.join("libpretend_cuda.so"), &new).expect("target/debug can be written");
    fs::rename(&new, programs.join("libpretend_cuda.so")).expect("target/debug can be written");
}

/// Writes two lists of names: operations with a CUDA kernel, and those whose tensors libtorch does not compare itself
/// before it calls the kernel.
fn write_operations(table: &Path, out: &Path) {
    println!("cargo:rerun-if-changed={}", table.display());
    let text = fs::read_to_string(table)
        .unwrap_or_else(|error| panic!("{}: {error}: install libtorch with scripts/setup", table.display()));
    let operations: Vec<(&str, &str)> = text
        .split("\n- func: ")
        .skip(1)
        .map(|operation| operation.split_once('(').expect("an operation has arguments"))
        .collect();
    let with_its_own: BTreeSet<&str> =
        operations.iter().filter(|(_, rest)| rest.lines().any(names_a_cuda_kernel)).map(|(name, _)| *name).collect();
    let by_another = |rest: &str| {
        rest.lines()
            .filter_map(|line| line.trim_start().strip_prefix("structured_delegate: "))
            .any(|other| with_its_own.contains(other.trim()))
    };
    let quoted = |(name, _): &(&str, &str)| format!("{name:?},\n");
    let with_a_cuda_kernel: Vec<String> =
        operations.iter().filter(|(name, rest)| with_its_own.contains(name) || by_another(rest)).map(quoted).collect();
    let unchecked = |rest: &str| rest.lines().any(|line| line.trim_start().starts_with("device_check: NoCheck"));
    let numbers_from_the_cpu: Vec<String> = operations.iter().filter(|(_, rest)| unchecked(rest)).map(quoted).collect();
    assert!(with_a_cuda_kernel.len() > 500 && numbers_from_the_cpu.len() > 500, "{} has another form", table.display());
    for (name, list) in [
        ("operations_with_a_cuda_kernel.inc", with_a_cuda_kernel),
        ("operations_that_take_numbers_from_the_cpu.inc", numbers_from_the_cpu),
    ] {
        fs::write(out.join(name), list.concat()).expect("OUT_DIR is writable");
    }
}

/// A line such as `    CPU, CUDA: kernel` of an operation's dispatch table, or the head of one that is generated for both.
fn names_a_cuda_kernel(line: &str) -> bool {
    if line == "  ufunc_inner_loop:" {
        return true;
    }
    let indented = line.starts_with("    ") && !line.trim_start().starts_with('#');
    indented && line.split_once(':').is_some_and(|(keys, _)| keys.split(',').any(|key| key.trim() == "CUDA"))
}
