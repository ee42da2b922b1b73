//! Logs, the same in every program.

pub mod metrics;

mod fail_points;

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    path::Path,
    sync::Mutex,
};

pub use fail_points::{FAIL_POINTS, fail_point};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Environment variable that chooses what is logged: `debug`, `rewind_worker=trace,info`, …
pub const FILTER: &str = "REWIND_LOG";

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
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
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    match format {
        Format::Text => log.init(),
        // `span` holds job, generation, rank and round.
        Format::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
    if let Some(error) = refused {
        tracing::warn!("{FILTER}={wanted} is not understood and `info` is used: {error}");
    }
}
