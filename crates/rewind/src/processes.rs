//! Child processes of a local fleet: found, started, watched, stopped.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::error::Error;

/// A program beside this one, else in PATH.
pub fn find(program: &str) -> Result<PathBuf, Error> {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(program)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|folder| folder.join(program)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::NoProgram { program: program.to_owned() })
}

/// How a process ended, in words: `was killed by signal 9`.
pub fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended".to_owned(),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last lines of a log, for an error message.
pub fn tail(log: &Path) -> String {
    const BYTES: u64 = 2000;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// One process that is started again when it dies.
pub struct Kept {
    pub name: String,
    pub log: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    started: Instant,
    backoff: Backoff,
    again_at: Option<Instant>,
}

/// What [`Kept::look`] found.
pub enum Seen {
    Nothing,
    Died { how: String, again_in: Duration },
    StartedAgain,
}

impl Kept {
    pub fn start(name: String, program: PathBuf, arguments: Vec<String>, log: PathBuf) -> Result<Self, Error> {
        let backoff = Backoff::default();
        let mut kept =
            Self { name, log, program, arguments, child: None, started: Instant::now(), backoff, again_at: None };
        kept.spawn()?;
        Ok(kept)
    }

    /// Used from the next start on.
    pub fn set_arguments(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(Error::file("open", &self.log))?;
        let also = log.try_clone().map_err(Error::file("open", &self.log))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env("NO_COLOR", "1")
            // A local fleet stays on this machine; NCCL looks for an interface itself.
            .env("NCCL_SOCKET_IFNAME", std::env::var_os("NCCL_SOCKET_IFNAME").unwrap_or_else(|| "lo".into()))
            .stdin(Stdio::null())
            .stdout(also)
            .stderr(log)
            // A group of its own: Ctrl-C reaches this program alone, which then stops the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start { program: self.program.display().to_string(), source })?;
        self.child = Some(child);
        self.started = Instant::now();
        self.again_at = None;
        Ok(())
    }

    /// How it died, if it did and was not started again yet.
    pub fn death(&mut self) -> Option<String> {
        self.child.as_mut()?.try_wait().ok().flatten().map(how)
    }

    /// Notices a death, and starts it again when its time has come.
    pub fn look(&mut self, now: Instant) -> Seen {
        if let Some(how) = self.death() {
            self.child = None;
            let wait = self.backoff.next(now.duration_since(self.started));
            self.again_at = Some(now + wait);
            return Seen::Died { how, again_in: wait };
        }
        if self.again_at.is_some_and(|at| now >= at) {
            return match self.spawn() {
                Ok(()) => Seen::StartedAgain,
                Err(error) => {
                    let wait = self.backoff.next(Duration::ZERO);
                    self.again_at = Some(now + wait);
                    Seen::Died { how: format!("did not start ({error})"), again_in: wait }
                }
            };
        }
        Seen::Nothing
    }

    pub fn ask_to_stop(&self, signal: Signal) {
        self.signal(signal);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id);
        if let Some(id) = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may have ended in between.
            let _ = kill_process(id, signal);
        }
    }

    /// Waits for the end that [`Self::ask_to_stop`] asked for; kills after `patience`.
    pub async fn stopped(&mut self, patience: Duration) -> bool {
        let Some(child) = &mut self.child else { return true };
        let in_time = tokio::time::timeout(patience, child.wait()).await.is_ok();
        if !in_time {
            // It may have ended in between.
            let _ = child.kill().await;
        }
        self.child = None;
        in_time
    }
}

/// Waits longer after each early death.
#[derive(Debug)]
struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: Self::SHORTEST }
    }
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    /// Whoever lived longer starts afresh.
    const HEALTHY: Duration = Duration::from_secs(60);

    fn next(&mut self, lived: Duration) -> Duration {
        if lived >= Self::HEALTHY {
            self.wait = Self::SHORTEST;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(Self::LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn early_deaths_wait_longer_and_long_lives_are_forgiven() {
        let mut backoff = Backoff::default();
        let early = Duration::from_secs(1);
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(early).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.next(Duration::from_secs(100)).as_millis(), 500);
    }

    #[test]
    fn endings_have_words() {
        assert_eq!(how(ExitStatus::from_raw(9)), "was killed by signal 9");
        assert_eq!(how(ExitStatus::from_raw(3 << 8)), "ended with exit code 3");
    }

    #[test]
    fn a_missing_program_says_how_to_build_it() {
        let error = find("rewind-nobody").unwrap_err().to_string();
        assert!(error.contains("cargo build -p rewind-nobody"), "{error}");
    }

    fn shell(folder: &Path, script: &str) -> Kept {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Kept::start("worker-1".to_owned(), "/bin/sh".into(), arguments, folder.join("log")).unwrap()
    }

    async fn until_dead(kept: &mut Kept) -> String {
        loop {
            if let Seen::Died { how, .. } = kept.look(Instant::now()) {
                return how;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_dies_is_started_again_after_its_wait() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = shell(folder.path(), "echo it went wrong; exit 3");
        assert_eq!(until_dead(&mut kept).await, "ended with exit code 3");
        assert_eq!(tail(&kept.log), "it went wrong");
        assert!(matches!(kept.look(Instant::now()), Seen::Nothing));
        assert!(matches!(kept.look(Instant::now() + Backoff::SHORTEST), Seen::StartedAgain));
    }

    #[tokio::test]
    async fn who_is_asked_stops_and_who_does_not_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut willing = shell(folder.path(), "exec sleep 1000");
        willing.ask_to_stop(Signal::TERM);
        assert!(willing.stopped(Duration::from_secs(30)).await);
        let mut stubborn = shell(folder.path(), "exec sleep 1000");
        assert!(!stubborn.stopped(Duration::from_millis(1)).await);
        assert_eq!(stubborn.death(), None);
    }
}
