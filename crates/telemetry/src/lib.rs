//! Logs and metrics, the same in every program.

pub mod metrics;

mod fail_points;
mod log_lines;

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    path::Path,
    sync::Mutex,
};

pub use fail_points::{FAIL_POINTS, fail_point};
use log_lines::LogLines;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// Environment variable that chooses what is logged: `debug`, `rewind_worker=trace,info`, …
pub const FILTER: &str = "REWIND_LOG";

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    /// An object a line, the fields of its spans side by side with its own.
    Json,
}

/// Starts logging to a file, or to standard error.
///
/// # Errors
/// When the file cannot be opened.
pub fn start(format: Format, file: Option<&Path>) -> io::Result<()> {
    match file {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            install(format, Mutex::new(file), false);
        }
        None => install(format, io::stderr, io::stderr().is_terminal()),
    }
    Ok(())
}

fn install<W>(format: Format, writer: W, colours: bool)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let wanted = std::env::var(FILTER).unwrap_or_default();
    let (filter, refused) = match EnvFilter::try_new(&wanted) {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (EnvFilter::new("info"), None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    tracing_subscriber::registry().with(filter).with(LogLines { format, writer, colours }).init();
    if let Some(error) = refused {
        tracing::warn!("{FILTER}={wanted} is not understood and `info` is used: {error}");
    }
}
