//! The image's root file system, assembled without Docker, runs the programs as the manifests say, without Kubernetes.
//!
//! This needs root: a test that is run by somebody else fails, and says so. etcd is Debian's here, not the one of its image:
//! that one alone knows `serializable=true`, by which a member lives without a majority.

mod pods;
mod policies;
mod probes;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use rewind_job::{JobStatus, Report, Round, StepIndex};
use rewind_tests::{complaint, repository};

use crate::pods::Pods;

/// Set in the process that has network, mounts and processes for itself, to the image's root.
const APART: &str = "REWIND_TEST_APART";

/// Where the image's root was assembled, once for all tests.
fn image() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let ran = image_root(&[]);
            assert!(ran.status.success(), "{}", complaint(&ran));
            let said = String::from_utf8(ran.stdout).expect("text");
            said.lines().last().expect("it ends with the root").into()
        })
        .clone()
}

fn image_root(arguments: &[&str]) -> Output {
    let script = repository().join("scripts/image-root");
    Command::new(script).args(arguments).stdin(Stdio::null()).output().expect("python3 is there")
}

#[test]
fn a_library_that_is_missing_in_the_image_is_found() {
    let whole = image();
    let lacking = whole.with_file_name("lacking");
    let _ = fs::remove_dir_all(&lacking);
    let linked = Command::new("cp").arg("--archive").arg("--link").arg(&whole).arg(&lacking).status().expect("cp runs");
    assert!(linked.success());
    let libraries = lacking.join("opt/rewind/.libtorch/torch/lib");
    fs::remove_file(libraries.join("libgomp.so.1")).expect("it is in the image");
    // No program of this stage opens it, and what it needs is not there.
    let needy = "libcaffe2_nvrtc.so";
    fs::copy(repository().join(".libtorch/torch/lib").join(needy), libraries.join(needy)).expect("it is in the wheel");
    let ran = image_root(&["--start", lacking.to_str().expect("printable")]);
    fs::remove_dir_all(&lacking).expect("it is ours");
    assert!(!ran.status.success());
    for found in ["rewind-worker", "libgomp.so.1", "libcaffe2_nvrtc.so needs libnvrtc.so.13"] {
        assert!(complaint(&ran).contains(found), "{found}: {}", complaint(&ran));
    }
}

#[test]
fn the_image_runs_as_its_manifests_say() {
    let Some(image) = std::env::var_os(APART) else {
        // With it the keys of its pods go, however it ends.
        let folder = tempfile::tempdir().expect("a folder");
        let dies_with_its_parent = ["--pdeathsig", "KILL"];
        let ran = Command::new("setpriv")
            .args(dies_with_its_parent)
            .args(["timeout", "--kill-after=5", "600", "setpriv"])
            .args(dies_with_its_parent)
            .args(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "the_image_runs_as_its_manifests_say", "--nocapture"])
            .env(APART, image())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("unshare comes with util-linux");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &complaint(&ran);
        println!("{said}");
        assert!(ran.status.success(), "in namespaces of its own (this needs root): {}", ran.status);
        return;
    };

    let secrets = tempfile::tempdir().expect("a folder");
    let secrets = secrets.path().join("secrets");
    let made = Command::new(repository().join("k8s/secrets")).arg(&secrets).output().expect("bash is there");
    assert!(made.status.success(), "{}", complaint(&made));
    let mut pods = Pods::of(
        with_etcd(image.into()),
        &[Path::new("k8s/overlays/cpu"), Path::new("k8s/operator"), secrets.as_path()],
    );
    let of = |pods: &Pods, set: &str| -> Vec<String> {
        pods.names().into_iter().filter(|name| name.starts_with(set)).collect()
    };
    let (coordinators, workers) = (of(&pods, "rewind-coordinator"), of(&pods, "rewind-worker"));
    assert_eq!((coordinators.len(), workers.len(), of(&pods, "rewind-etcd").len()), (3, 2, 3));

    policies::enforce(&pods);
    // Coordinators wait for etcd, and are not started again for that.
    for name in coordinators.iter().chain(&workers) {
        pods.start(name);
    }
    for name in &coordinators {
        pods.eventually("it waits", |pods| pods.log(name).contains("waits for the state store").then_some(()));
        for (probe, succeeds) in [("startupProbe", true), ("livenessProbe", true), ("readinessProbe", false)] {
            assert_eq!(probes::succeeds(&pods, name, probe), succeeds, "{name}: {probe}\n{}", pods.log(name));
        }
    }
    for name in of(&pods, "rewind-etcd").iter().chain(&of(&pods, "rewind-operator")) {
        pods.start(name);
    }
    for name in pods.names() {
        for probe in ["livenessProbe", "readinessProbe"] {
            pods.eventually(&format!("{name}: {probe}"), |pods| probes::succeeds(pods, &name, probe).then_some(()));
        }
    }
    for name in coordinators.iter().chain(&workers) {
        assert_eq!(pods.pod(name).starts, 1, "{name} ended\n{}", pods.log(name));
    }

    // Who has no business with somebody does not get through, and who has does.
    for (from, to, port, is_let_through) in [
        ("rewind-coordinator-0", "rewind-etcd-0", 2379, true),
        ("rewind-coordinator-0", "rewind-etcd-0", 2380, false),
        ("rewind-coordinator-0", "rewind-worker-0", 9091, false),
        ("rewind-worker-0", "rewind-coordinator-0", 7060, true),
        ("rewind-worker-0", "rewind-worker-1", 9091, true),
        ("rewind-worker-0", "rewind-etcd-0", 2379, false),
        ("rewind-operator", "rewind-coordinator-0", 7060, true),
        ("rewind-operator", "rewind-worker-0", 9091, false),
        ("rewind-operator", "rewind-etcd-0", 2379, false),
    ] {
        let connects = format!("exec 3<>/dev/tcp/{}/{port}", pods.pod(to).address);
        let connected = pods.exec(from, &["timeout", "1", "bash", "-c", &connects], None);
        assert_eq!(connected.status.success(), is_let_through, "{from} to {to}:{port}: {}", complaint(&connected));
    }

    // As restricted as they are told to be.
    for name in [&coordinators[0], &workers[0]] {
        let who = pods.exec(name, &["id", "-u"], None);
        assert_eq!(String::from_utf8_lossy(&who.stdout).trim(), "10001", "{}", complaint(&who));
        for folder in ["/", "/opt/rewind", "/etc/rewind/pki", "/data"] {
            let file = format!("{folder}/written");
            assert!(!pods.exec(name, &["touch", &file], None).status.success(), "{name} writes {file}");
        }
        for folder in ["/tmp", "/artifacts"] {
            let written = pods.exec(name, &["touch", &format!("{folder}/written")], None);
            assert!(written.status.success(), "{name}: {}", complaint(&written));
        }
    }

    // A job, as k8s/README.md submits it: with data on the volume, and the specification in the operator's pod.
    let digits =
        Command::new("tar").args(["--create", "--directory=.data", "digits"]).current_dir(repository()).output();
    let copied =
        pods.exec("rewind-operator", &["tar", "-xf", "-", "-C", "/data"], Some(&digits.expect("tar runs").stdout));
    assert!(copied.status.success(), "{}", complaint(&copied));
    let quick = fs::read_to_string(repository().join("examples/quick.toml")).expect("reads");
    // On both workers: their collectives go from pod to pod.
    let quick = quick.replace("../.data/", "/data/").replace("world-size = 1", "world-size = 2");
    // And long enough that a worker goes in the middle.
    let quick = quick.replacen("epochs = 5", "epochs = 60", 1);
    // It is to run to its end, whatever is forgotten.
    let quick = format!("fail-if = []\n{quick}");
    let copied = pods.exec("rewind-operator", &["tee", "/tmp/quick.toml"], Some(quick.as_bytes()));
    assert!(copied.status.success(), "{}", complaint(&copied));
    let submit = ["rewind", "submit", "/tmp/quick.toml", "--watch", "--out", "/tmp/out"];
    let mut watched = pods.command("rewind-operator", &submit);
    let watched = watched.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();

    // A worker that is deleted meanwhile leaves after its round, and comes back; no committed round is lost.
    let Round(committed) = pods.eventually("rounds are committed", |pods| {
        let jobs = pods.exec("rewind-operator", &["rewind", "jobs", "--json"], None);
        let jobs: Vec<JobStatus> = serde_json::from_slice(&jobs.stdout).ok()?;
        let (step, round) = jobs.first()?.committed?;
        assert_eq!(step, StepIndex(0), "the job is over too soon for this test");
        Some(round).filter(|round| *round >= Round(2))
    });
    let (time, ended_well) = pods.delete(&workers[1]);
    assert!(ended_well, "{} after {time:?}\n{}", workers[1], pods.log(&workers[1]));
    println!("SIGTERM of a worker with a round under way to its end: {time:?}");
    pods.start(&workers[1]);
    let ran = watched.and_then(Child::wait_with_output).expect("timeout comes with coreutils");
    assert!(ran.status.success(), "{}\n{}", complaint(&ran), pods.logs());
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    let log = pods.log(&workers[1]);
    let again = log.lines().filter(|line| line.contains(r#""generation":2"#));
    let goes_on = again.filter_map(|line| line.split_once("goes on after round ")).next().and_then(|(_, rest)| {
        let digits = rest.split(|next: char| !next.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    assert!(goes_on.is_some_and(|round: u32| round >= committed), "{committed} was committed\n{log}");
    let report = pods.exec("rewind-operator", &["cat", "/tmp/out/report.json"], None);
    let report: Report = serde_json::from_slice(&report.stdout).expect("a report");
    assert_eq!(report.measured().count(), 3, "pretrained, retrained, unlearned");
    assert_eq!(report.specification.fleet.world_size.0, 2);

    // Without its state store nobody leads: workers are not ready, and nobody kills a program for that.
    let members = of(&pods, "rewind-etcd");
    for name in &members[1..] {
        pods.delete(name);
    }
    pods.eventually("nobody leads", |pods| (!probes::succeeds(pods, &workers[0], "readinessProbe")).then_some(()));
    for name in coordinators.iter().chain(&workers) {
        assert!(probes::succeeds(&pods, name, "livenessProbe"), "{name}\n{}", pods.log(name));
    }
    for name in &coordinators {
        assert!(probes::succeeds(&pods, name, "readinessProbe"), "{name} answers calls\n{}", pods.log(name));
    }
    for name in &members[1..] {
        pods.start(name);
    }
    for name in members.iter().chain(&workers) {
        pods.eventually("it is ready again", |pods| probes::succeeds(pods, name, "readinessProbe").then_some(()));
    }

    // Without a coordinator workers live, and are not ready.
    for name in &coordinators {
        let (time, ended_well) = pods.delete(name);
        assert!(ended_well, "{name} after {time:?}\n{}", pods.log(name));
    }
    for name in &workers {
        pods.eventually("it is not ready", |pods| (!probes::succeeds(pods, name, "readinessProbe")).then_some(()));
        assert!(probes::succeeds(&pods, name, "livenessProbe"), "{}", pods.log(name));
    }
    for name in &coordinators {
        pods.start(name);
    }
    for name in coordinators.iter().chain(&workers) {
        pods.eventually("it is ready again", |pods| probes::succeeds(pods, name, "readinessProbe").then_some(()));
    }

    // A worker without work goes at once, long before it would be killed.
    for name in &workers {
        let (time, ended_well) = pods.delete(name);
        assert!(ended_well && time < Duration::from_secs(15), "{name} after {time:?}\n{}", pods.log(name));
    }
}

/// The image's root with Debian's etcd where the image of etcd has its own: no registry of images is reached here.
fn with_etcd(image: PathBuf) -> PathBuf {
    let with = image.with_file_name("with-etcd");
    let _ = fs::remove_dir_all(&with);
    let linked = Command::new("cp").arg("--archive").arg("--link").arg(&image).arg(&with).status().expect("cp runs");
    assert!(linked.success());
    let etcd = std::env::split_paths(&std::env::var_os("PATH").expect("there is a PATH"))
        .map(|folder| folder.join("etcd"))
        .find(|path| path.is_file())
        .expect("scripts/setup installs etcd");
    fs::copy(etcd, with.join("usr/local/bin/etcd")).expect("copies");
    with
}
