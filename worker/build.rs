//! Records the version of the libtorch that the worker is built against.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let libtorch = env::var("LIBTORCH").expect("LIBTORCH is set in .cargo/config.toml");
    let file = Path::new(&libtorch).join("version.py");
    println!("cargo::rerun-if-changed={}", file.display());
    let text = fs::read_to_string(&file).expect("libtorch is installed: run `make setup`");
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("__version__ = "))
        .map_or("unknown", |version| version.trim().trim_matches('\''));
    println!("cargo::rustc-env=LIBTORCH_VERSION={version}");
}
