//! `rewind up`: a local fleet until Ctrl-C.

use std::path::Path;

use crate::{arguments::Up, error::Error, fleet::Fleet, output, screen::Screen, signals::Signals};

pub async fn run(up: Up) -> Result<(), Error> {
    let screen = Screen::new();
    let mut signals = Signals::listen()?;
    screen.say(&format!("starting a coordinator and {} workers in {}", up.workers, up.dir.display()));
    let mut fleet = tokio::select! {
        fleet = Fleet::start(&up.dir, up.workers, up.device, up.listen, up.insecure) => fleet?,
        () = signals.next() => return Ok(()),
    };
    output::line(usage(&fleet.address, &up.dir, up.workers));
    tokio::select! {
        never = fleet.keep(&screen) => match never {},
        () = signals.next() => {}
    }
    screen.say("stopping");
    tokio::select! {
        () = fleet.stop(&screen) => screen.say("all stopped; jobs go on at the next `rewind up`"),
        // A second signal: children are killed as their handles are dropped.
        () = signals.next() => screen.say("killed"),
    }
    Ok(())
}

fn usage(address: &str, dir: &Path, workers: u32) -> String {
    let dir = if dir == Path::new(".rewind") { String::new() } else { format!(" --dir {}", dir.display()) };
    format!(
        "ready: {workers} workers, coordinator at {address}\n\n  \
rewind submit examples/quick.toml --watch{dir}\n  \
rewind jobs{dir}\n\n\
Ctrl-C stops the fleet."
    )
}
