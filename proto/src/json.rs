//! Nested words as JSON.

use rewind_job::shortened;
use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;

/// A word as JSON.
pub fn to_json<T: Serialize>(word: &T) -> String {
    serde_json::to_string(word).expect("the words are made of structures, strings and finite numbers")
}

/// # Errors
/// Names the field whose JSON is not the word's.
pub fn from_json<T: DeserializeOwned>(field: &'static str, json: &str) -> Result<T, WireError> {
    serde_json::from_str(json).map_err(|error| WireError::Json { field, problem: shortened(error.to_string()) })
}
