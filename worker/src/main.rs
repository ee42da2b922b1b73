//! Runs assignments, reports facts. This file only starts and stops.

use std::process::ExitCode;

use clap::Parser;
use rewind_telemetry::Format;
use rewind_worker::{
    config::{Config, Devices},
    device::{Inspection, WorkerDevice},
    session,
};

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "devices") {
        arguments.remove(1);
        let Devices { device, json } = Devices::parse_from(arguments);
        return show(&Inspection::make(device.wishes()), json);
    }
    let config = Config::parse_from(arguments);
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
    // Before there are other threads.
    let device = match WorkerDevice::choose(config.device.wishes()) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("rewind-worker: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rewind-worker: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(session::serve(config, device));
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

fn show(inspection: &Inspection, json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::to_string_pretty(inspection).expect("words and numbers"));
    } else {
        println!("{inspection}");
    }
    if inspection.is_fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
