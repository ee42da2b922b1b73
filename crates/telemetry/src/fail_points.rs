//! Places where a test may kill or stop this process, so that every edge of a commit is tried.

use std::{fs, path::PathBuf, sync::LazyLock};

use rustix::process::{Signal, getpid, kill_process};

/// Environment variable that names this process's folder of fail points; without it they cost nothing.
pub const FAIL_POINTS: &str = "REWIND_FAIL_POINTS";

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(FAIL_POINTS).map(PathBuf::from));

/// If the folder holds a file of this name, removes it and sends this process the signal that it names: `kill` or `stop`.
pub fn fail_point(name: &str) {
    let Some(folder) = FOLDER.as_ref() else { return };
    let file = folder.join(name);
    let Ok(wish) = fs::read_to_string(&file) else { return };
    let signal = if wish.trim() == "stop" { Signal::STOP } else { Signal::KILL };
    if fs::remove_file(&file).is_ok() {
        // A process may always signal itself.
        let _ = kill_process(getpid(), signal);
    }
}
