//! A local fleet as real processes: one coordinator, several workers, in one folder.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use rewind_client::{Client, address_in};

use crate::{
    devices::{self, LocalDevice},
    error::Error,
    processes::{Kept, Seen, find, tail},
    screen::Screen,
};

/// How often children are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A program that is not ready by then will never be.
const READY: Duration = Duration::from_secs(60);
/// Time to stop in order; then a process is killed.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Fleet {
    pub address: String,
    dir: PathBuf,
    coordinator: Kept,
    workers: Vec<Kept>,
}

impl Fleet {
    /// Starts the processes and waits until every worker has joined.
    ///
    /// # Errors
    /// A program is missing, dies before it is ready, or is not ready in time; all of them are gone then.
    pub async fn start(
        dir: &Path,
        workers: u32,
        device: LocalDevice,
        listen: SocketAddr,
        insecure: bool,
    ) -> Result<Self, Error> {
        if !listen.ip().is_loopback() && !insecure {
            return Err(Error::Usage(format!(
                "--listen {listen}: other machines reach this address and a local fleet authenticates nobody; give \
                 --insecure, or start rewind-coordinator and rewind-worker with certificates yourself"
            )));
        }
        let dir = std::path::absolute(dir).map_err(Error::file("resolve", dir))?;
        let (coordinator, worker) = (find("rewind-coordinator")?, find("rewind-worker")?);
        let devices = devices::of_workers(&worker, device, workers)?;
        for folder in [dir.join("logs"), dir.join("artifacts")] {
            std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        }
        forget_old_address(&dir)?;

        let log = dir.join("logs/coordinator.log");
        let arguments = coordinator_arguments(&dir, &listen.to_string(), insecure);
        let mut coordinator = Kept::start("coordinator".to_owned(), coordinator, arguments, log)?;
        let address = wait_for_address(&dir, &mut coordinator).await?;
        // Started again, it must be found where the workers knew it.
        if let Some(same) = address.split("://").nth(1) {
            coordinator.set_arguments(coordinator_arguments(&dir, same.trim_end_matches('/'), insecure));
        }

        let workers = devices.iter().enumerate().map(|(index, device)| {
            let name = format!("worker-{}", index + 1);
            let arguments = worker_arguments(&address, &dir, &name, device);
            let log = dir.join(format!("logs/{name}.log"));
            Kept::start(name, worker.clone(), arguments, log)
        });
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let mut fleet = Self { address, dir, coordinator, workers };
        fleet.wait_for_workers().await?;
        Ok(fleet)
    }

    async fn wait_for_workers(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let mut client = Client::connect_to(&self.address).await?;
        let mut joined = 0;
        while started.elapsed() < READY {
            joined = client.workers().await?.len();
            if joined >= self.workers.len() {
                return Ok(());
            }
            for process in std::iter::once(&mut self.coordinator).chain(&mut self.workers) {
                not_dead(process)?;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Error::NotReady {
            what: format!("the fleet ({joined} of {} workers joined)", self.workers.len()),
            seconds: READY.as_secs(),
            logs: self.dir.join("logs"),
        })
    }

    /// Starts again what dies, and says so; never ends.
    pub async fn keep(&mut self, screen: &Screen) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            for process in std::iter::once(&mut self.coordinator).chain(&mut self.workers) {
                match process.look(Instant::now()) {
                    Seen::Nothing => {}
                    Seen::Died { how, again_in } => screen.say(&format!(
                        "{} {how}; starting it again in {:.1} s (log: {})",
                        process.name,
                        again_in.as_secs_f64(),
                        process.log.display()
                    )),
                    Seen::StartedAgain => screen.say(&format!("{} runs again", process.name)),
                }
            }
        }
    }

    /// Asks all to stop, waits, kills who does not.
    pub async fn stop(mut self, screen: &Screen) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // At once: what is not committed is done again when the fleet is started again.
        self.workers.iter().for_each(|worker| worker.ask_to_stop(Signal::INT));
        self.coordinator.ask_to_stop(Signal::TERM);
        for process in self.workers.iter_mut().chain(std::iter::once(&mut self.coordinator)) {
            let patience = deadline.saturating_duration_since(tokio::time::Instant::now());
            if !process.stopped(patience).await {
                screen.say(&format!("{} did not stop in {} s and was killed", process.name, PATIENCE.as_secs()));
            }
        }
        // Whoever looks for this fleet must not find its address.
        let _ = std::fs::remove_file(self.dir.join("coordinator.addr"));
    }
}

fn coordinator_arguments(dir: &Path, listen: &str, insecure: bool) -> Vec<String> {
    let dir = dir.display().to_string();
    let mut arguments = vec!["--listen", listen, "--dir", &dir, "--die-with-parent"];
    if insecure {
        // Who listens to everybody without asking has said that any file will do.
        arguments.extend(["--insecure", "--data-root", "/"]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

fn worker_arguments(address: &str, dir: &Path, name: &str, device: &str) -> Vec<String> {
    let artifacts = dir.join("artifacts").display().to_string();
    let logs = dir.join("logs").display().to_string();
    let arguments = ["--coordinator", address, "--artifacts", &artifacts, "--flight-records", &logs, "--name", name];
    let others = ["--device", device, "--bind", "127.0.0.1", "--die-with-parent"];
    arguments.into_iter().chain(others).map(str::to_owned).collect()
}

/// Removes what an earlier fleet left in its folder: its jobs would go on before new ones.
///
/// # Errors
/// A fleet runs there.
pub fn clear(dir: &Path) -> Result<(), Error> {
    forget_old_address(dir)?;
    let gone = |path: PathBuf, removed: std::io::Result<()>| match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        _ => Ok(()),
    };
    for folder in ["artifacts", "logs"].map(|name| dir.join(name)) {
        gone(folder.clone(), std::fs::remove_dir_all(&folder))?;
    }
    let state = dir.join("state.redb");
    gone(state.clone(), std::fs::remove_file(&state))
}

/// Removes the address of a fleet that is gone; refuses when it still answers.
fn forget_old_address(dir: &Path) -> Result<(), Error> {
    let Ok(address) = address_in(dir) else { return Ok(()) };
    let socket = address.split("://").nth(1).and_then(|text| text.trim_end_matches('/').parse::<SocketAddr>().ok());
    if let Some(socket) = socket
        && TcpStream::connect_timeout(&socket, Duration::from_secs(1)).is_ok()
    {
        return Err(Error::FleetRuns { dir: dir.to_owned(), address });
    }
    let file = dir.join("coordinator.addr");
    std::fs::remove_file(&file).map_err(Error::file("remove", file))
}

async fn wait_for_address(dir: &Path, coordinator: &mut Kept) -> Result<String, Error> {
    let started = Instant::now();
    while started.elapsed() < READY {
        if let Ok(address) = address_in(dir)
            && Client::connect_to(&address).await.is_ok()
        {
            return Ok(address);
        }
        not_dead(coordinator)?;
        tokio::time::sleep(LOOK).await;
    }
    Err(Error::NotReady { what: "the coordinator".to_owned(), seconds: READY.as_secs(), logs: dir.join("logs") })
}

fn not_dead(process: &mut Kept) -> Result<(), Error> {
    match process.death() {
        Some(how) => {
            let (name, log) = (process.name.clone(), process.log.clone());
            Err(Error::Died { name, how, tail: tail(&log), log })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_fleet_is_neither_cleared_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::fs::write(folder.path().join("coordinator.addr"), &address).unwrap();
        std::fs::write(folder.path().join("state.redb"), "jobs").unwrap();
        assert!(matches!(clear(folder.path()), Err(Error::FleetRuns { .. })));
        assert!(folder.path().join("state.redb").exists());
    }

    #[test]
    fn clearing_removes_what_a_fleet_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("artifacts/ab")).unwrap();
        std::fs::write(folder.path().join("state.redb"), "jobs").unwrap();
        std::fs::write(folder.path().join("letter.txt"), "mine").unwrap();
        clear(folder.path()).unwrap();
        clear(&folder.path().join("never-there")).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["letter.txt"]);
    }
}
