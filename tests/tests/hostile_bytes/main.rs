//! Every parser that meets foreign bytes answers, or refuses with a reason: it never panics, never takes more memory or
//! time than its input's length allows. (Predictors: `crates/predictor/tests/hostile_bytes.rs`; answers of an S3 server:
//! `crates/artifacts/src/s3/tests.rs`; what `rewind` reads: `crates/rewind/src/hostile_bytes.rs`;
//! Keras files: `crates/keras`.)
//!
//! `HOSTILE_SEED=7` chooses other cases; `make fuzz MINUTES=60` goes on with new ones.

mod certificates;
mod files_of_security;
mod histories;
mod messages;
mod reports;
mod samples;
mod specifications;
mod stored_records;
mod tensors;

use std::path::Path;

/// What is wrong with bytes, in words.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Reads JSON with the library alone, whose words may be long.
fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| rewind_job::shortened(error.to_string()))
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(words)
}

/// An error about a file names it.
fn naming(path: &Path, error: impl std::fmt::Display) -> String {
    let error = error.to_string();
    assert!(error.contains(&path.display().to_string()), "does not name {}: {error}", path.display());
    error
}

fn parse(specification: &str) -> Result<rewind_job::Specification, rewind_job::SpecificationError> {
    rewind_job::Specification::parse(specification, Path::new("/data"))
}

/// The examples, which are valid.
fn examples() -> Vec<Vec<u8>> {
    let folder = rewind_tests::repository().join("examples");
    let files = std::fs::read_dir(folder).expect("is there").map(|entry| entry.expect("is listed").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).expect("reads")).collect()
}
