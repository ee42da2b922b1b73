//! Decides where and when; never touches a tensor. This file only starts and stops.

use std::process::ExitCode;

use clap::Parser;
use rewind_coordinator::{config::Config, serve};
use rewind_telemetry::Format;

fn main() -> ExitCode {
    let config = Config::parse();
    if config.die_with_parent
        && let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        eprintln!("rewind-coordinator: failed to tie this process to its parent: {error}");
        return ExitCode::FAILURE;
    }
    let format = if config.json_logs { Format::Json } else { Format::Text };
    if let Err(error) = rewind_telemetry::start(format, config.log_file.as_deref()) {
        eprintln!("rewind-coordinator: failed to open the log file: {error}");
        return ExitCode::FAILURE;
    }
    match serve::serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if config.log_file.is_some() {
                eprintln!("rewind-coordinator: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
