//! Runs assignments, reports facts. This file only starts and stops.

use std::process::ExitCode;

use clap::Parser;
use rewind_telemetry::Format;
use rewind_worker::{config::Config, session};

fn main() -> ExitCode {
    let config = Config::parse();
    if config.die_with_parent
        && let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        eprintln!("rewind-worker: failed to tie this process to its parent: {error}");
        return ExitCode::FAILURE;
    }
    let format = if config.json_logs { Format::Json } else { Format::Text };
    if let Err(error) = rewind_telemetry::start(format, config.log_file.as_deref()) {
        eprintln!("rewind-worker: failed to open the log file: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rewind-worker: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(session::serve(config));
    // What still computes is not committed, and is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rewind-worker: {error}");
            ExitCode::FAILURE
        }
    }
}
