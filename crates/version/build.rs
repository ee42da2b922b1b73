//! Asks git which commit is built.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=REWIND_COMMIT");
    let given = std::env::var("REWIND_COMMIT").ok().filter(|commit| !commit.is_empty());
    println!("cargo::rustc-env=REWIND_COMMIT={}", given.or_else(commit).unwrap_or_else(|| "unknown".to_owned()));
}

/// The commit that is checked out, `-dirty` where files that git knows differ from it; none outside a checkout.
fn commit() -> Option<String> {
    // What names the commit, and what changes with every commit and checkout. The index is not asked: `git status` alone
    // touches it, and programs would be built again under a running test.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let clean = Command::new("git").args(["diff", "--quiet", "HEAD"]).status().ok()?.success();
    Some(if clean { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
