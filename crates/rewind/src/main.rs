//! `rewind`: asks a fleet to unlearn, and shows what came of it.

mod arguments;
mod commands;
mod devices;
mod error;
mod fleet;
#[cfg(test)]
mod hostile_bytes;
mod output;
mod processes;
mod screen;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use error::Error;
use rewind_client::Wish;

// One thread: children are started by the main thread, whose death is what they watch for.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up(up) => commands::up::run(up).await,
        Command::Submit(submit) => commands::submit::run(submit).await,
        Command::Jobs(jobs) => commands::jobs::list(jobs).await,
        Command::Watch(watch) => commands::jobs::watch(watch).await,
        Command::Cancel(cancel) => commands::jobs::change(&cancel.at, cancel.job, Wish::Cancel).await,
        Command::Pause(pause) => commands::jobs::change(&pause.at, pause.job, Wish::Pause).await,
        Command::Resume(resume) => commands::jobs::change(&resume.at, resume.job, Wish::Resume).await,
        Command::Tasks(tasks) => commands::jobs::tasks(tasks).await,
        Command::Events(events) => commands::jobs::events(events).await,
        Command::Report(report) => commands::report::run(report).await,
        Command::Verify(verify) => commands::verify::run(verify).await,
        Command::Demo(demo) => commands::demo::run(demo).await,
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
        Command::Pki(pki) => commands::pki::run(pki),
        Command::Histories(histories) => commands::histories::run(histories),
        Command::Page(page) => commands::report::page(&page),
        Command::Compare(compare) => commands::compare::run(compare).await,
        Command::Predictor(predictor) => commands::predictor::run(predictor).await,
    };
    let result = result.and_then(|()| match output::failure() {
        Some(problem) => Err(Error::Output { problem: problem.to_owned() }),
        None => Ok(()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::say_plainly(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
