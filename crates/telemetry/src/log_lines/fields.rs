//! The fields of a span or an event.

use std::{borrow::Cow, error::Error, fmt};

use serde_json::Value as Json;
use tracing::field::{Field, Visit};

/// Fields in the order in which they came first; a name has one value, its last.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub values: Vec<(&'static str, Value)>,
    pub message: Option<String>,
    /// Where an event of the `log` crate came from.
    pub target: Option<String>,
}

/// What a field was set to.
#[derive(Clone, Debug)]
pub enum Value {
    Json(Json),
    /// Written by `Display` or `Debug`.
    Written(String),
}

impl Value {
    pub fn into_json(self) -> Json {
        match self {
            Self::Json(json) => json,
            Self::Written(text) => Json::String(text),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Json(Json::String(text)) | Self::Written(text) => text,
            Self::Json(json) => json.to_string(),
        }
    }
}

/// As in a line of text.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(json) => f.write_str(&escaped(&json.to_string())),
            Self::Written(text) => f.write_str(&escaped(text)),
        }
    }
}

/// Whether a character could end a line or move a terminal's cursor.
pub fn is_unsafe(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The text with its unsafe characters written as in Rust.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

impl Fields {
    /// Takes over the values of `newer`.
    pub fn replace(&mut self, newer: Self) {
        for (name, value) in newer.values {
            self.put(name, value);
        }
    }

    fn put(&mut self, name: &'static str, value: Value) {
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, present)) => *present = value,
            None => self.values.push((name, value)),
        }
    }

    fn set(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = Some(value.into_text()),
            "log.target" => self.target = Some(value.into_text()),
            name if name.starts_with("log.") => {}
            name => self.put(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, Value::Written(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::Json(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Json(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Json(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Json(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not finite.
        let written = || Value::Written(value.to_string());
        self.set(field, serde_json::Number::from_f64(value).map_or_else(written, |number| Value::Json(number.into())));
    }

    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.set(field, Value::Written(text));
    }
}
