//! A kubelet in small: pods as their manifests say, in namespaces of their own, without Kubernetes.
//!
//! Like a container each has a network address, a read-only root, its volumes with the group of its pod, no capabilities, and
//! process number 1. Limits of resources and seccomp are not enforced here.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rewind_tests::repository;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
/// Seconds after which a command in a container is ended.
const EXEC: &str = "300";
/// The address of the node, on the bridge that its pods are on.
pub const NODE: &str = "10.42.0.1";

/// Enters the pod's root. Arguments: root, mount points, where it becomes whole, what is mounted (source, target, rights)
/// up to `--`, and the command.
const CONTAINER: &str = r#"
    mount --make-rprivate /
    mount -t overlay overlay -o "ro,lowerdir=$2:$1" "$3"
    root=$3
    shift 3
    mount -t proc proc "$root/proc"
    while [ "$1" != -- ]; do
        mount --bind "$1" "$root$2"
        mount -o "remount,bind,$3" "$root$2"
        shift 3
    done
    shift
    exec chroot "$root" "$@"
"#;

pub struct Pods {
    image: PathBuf,
    path: String,
    pub folder: TempDir,
    objects: Vec<Value>,
    pods: BTreeMap<String, Pod>,
}

pub struct Pod {
    pub address: String,
    pub labels: Value,
    pub specification: Value,
    folder: PathBuf,
    /// Holds the network while the container is started again.
    network: Child,
    container: Option<Child>,
    /// How often its container was started.
    pub starts: u32,
    is_stopped: bool,
}

impl Pods {
    /// What these kustomizations deploy; nothing runs yet.
    pub fn of(image: PathBuf, kustomizations: &[&Path]) -> Self {
        let dockerfile = fs::read_to_string(repository().join("k8s/Dockerfile")).expect("reads");
        let path = dockerfile.lines().find_map(|line| line.strip_prefix("ENV PATH=")).expect("it sets PATH").to_owned();
        let objects = kustomizations.iter().flat_map(|folder| render(folder)).collect();
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", "pods", "type", "bridge"]);
        run("ip", &["address", "add", &format!("{NODE}/24"), "dev", "pods"]);
        run("ip", &["link", "set", "pods", "up"]);
        let folder = tempfile::tempdir().expect("a folder");
        let mut pods = Self { image, path, folder, objects, pods: BTreeMap::new() };
        pods.make();
        pods
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// All objects of a kind.
    pub fn objects(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |item| item["kind"] == kind)
    }

    fn make(&mut self) {
        let mut wanted = Vec::new();
        for item in &self.objects {
            let name = item["metadata"]["name"].as_str().expect("a name");
            match item["kind"].as_str().expect("a kind") {
                "Pod" => wanted.push((name.to_owned(), &item["metadata"]["labels"], item["spec"].clone())),
                "StatefulSet" => {
                    let (labels, pod) =
                        (&item["spec"]["template"]["metadata"]["labels"], &item["spec"]["template"]["spec"]);
                    // Each replica's own claims are volumes like others.
                    let claims = item["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
                    for ordinal in 0..item["spec"]["replicas"].as_u64().expect("replicas") {
                        let mut own = pod.clone();
                        for claim in &claims {
                            let volume = &claim["metadata"]["name"];
                            let claim = format!("{}-{name}-{ordinal}", volume.as_str().expect("a name"));
                            let volume =
                                serde_json::json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim } });
                            own["volumes"].as_array_mut().expect("volumes").push(volume);
                        }
                        wanted.push((format!("{name}-{ordinal}"), labels, own));
                    }
                }
                _ => {}
            }
        }
        for (index, (name, labels, specification)) in wanted.into_iter().enumerate() {
            let address = format!("10.42.0.{}", 10 + index);
            let network = network(index, &address);
            let folder = self.folder.path().join(&name);
            for part in ["points", "root", "volumes"] {
                fs::create_dir_all(folder.join(part)).expect("a folder");
            }
            let labels = labels.clone();
            let pod =
                Pod { address, labels, specification, folder, network, container: None, starts: 0, is_stopped: false };
            self.pods.insert(name, pod);
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    pub fn pod(&self, name: &str) -> &Pod {
        &self.pods[name]
    }

    pub fn start(&mut self, name: &str) {
        let log = File::options().create(true).append(true).open(self.log_file(name)).expect("a log");
        let pod = &self.pods[name];
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(pod.network_file());
        command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", CONTAINER, name]);
        command.arg(&self.image).arg(pod.folder.join("points")).arg(pod.folder.join("root"));
        command.args(self.mounts(name)).arg("--").args(as_its_user(&pod.specification));
        command.args(self.environment(name)).args(self.words(name));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("clones")).stderr(log);
        let container = command.spawn().expect("setpriv comes with util-linux");
        let pod = self.pods.get_mut(name).expect("it is there");
        (pod.container, pod.starts, pod.is_stopped) = (Some(container), pod.starts + 1, false);
    }

    /// Sources, targets and rights. What is mounted is made here, as its volume says.
    fn mounts(&self, name: &str) -> Vec<PathBuf> {
        let pod = &self.pods[name];
        let group = pod.specification["securityContext"]["fsGroup"].as_u64().map(|group| group as u32);
        let points = pod.folder.join("points");
        let hosts = points.join("etc/hosts");
        fs::create_dir_all(points.join("etc")).expect("a folder");
        fs::write(hosts, self.hosts()).expect("writes");
        let mut mounts = Vec::new();
        for mount in list(&container(&pod.specification)["volumeMounts"]) {
            let target = mount["mountPath"].as_str().expect("a path");
            let mut source = self.volume(pod, &mount["name"], group);
            let point = points.join(target.trim_start_matches('/'));
            if let Some(part) = mount["subPath"].as_str() {
                source.push(part);
                fs::create_dir_all(point.parent().expect("a folder")).expect("a folder");
                File::create(point).expect("a mount point");
            } else {
                fs::create_dir_all(point).expect("a mount point");
            }
            let rights = if mount["readOnly"] == true { "ro" } else { "rw" };
            mounts.extend([source, target.into(), rights.into()]);
        }
        mounts
    }

    fn volume(&self, pod: &Pod, name: &Value, group: Option<u32>) -> PathBuf {
        let volumes = list(&pod.specification["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == *name).expect("a volume");
        let own = pod.folder.join("volumes").join(name.as_str().expect("a name"));
        let claim = volume["persistentVolumeClaim"]["claimName"].as_str();
        let folder = claim.map_or(own, |claim| self.folder.path().join("claims").join(claim));
        let is_new = !folder.exists();
        fs::create_dir_all(&folder).expect("a folder");
        let allow = |path: &Path, mode: u32| {
            chown(path, None, group).expect("is root's");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("is root's");
        };
        if let Some(settings) = volume["configMap"]["name"].as_str() {
            for (file, text) in self.object("ConfigMap", settings)["data"].as_object().expect("files") {
                fs::write(folder.join(file), text.as_str().expect("text")).expect("writes");
            }
        } else if let Some(secret) = volume["secret"]["secretName"].as_str() {
            let mode = volume["secret"]["defaultMode"].as_u64().expect("a mode") as u32;
            for (file, text) in self.object("Secret", secret)["data"].as_object().expect("files") {
                fs::write(folder.join(file), decoded(text.as_str().expect("text"))).expect("writes");
                allow(&folder.join(file), mode);
            }
            allow(&folder, 0o750);
        } else if is_new {
            // Anybody may write where nothing was: an emptyDir; claims are the group's.
            allow(&folder, if claim.is_some() { 0o2775 } else { 0o2777 });
        }
        folder
    }

    /// The names that headless services give their pods.
    fn hosts(&self) -> String {
        let named = self.pods.iter().map(|(name, pod)| {
            let set = name.rsplit_once('-').map_or("", |(set, _)| set);
            format!("{} {name}.{set} {name}\n", pod.address)
        });
        "127.0.0.1 localhost\n".chars().chain(named.collect::<String>().chars()).collect()
    }

    /// As `env` takes it.
    fn environment(&self, name: &str) -> Vec<String> {
        let mut words = vec!["env".to_owned(), "-i".to_owned(), format!("PATH={}", self.path)];
        words.extend(self.variables(name).into_iter().map(|(name, value)| format!("{name}={value}")));
        words
    }

    fn variables(&self, name: &str) -> BTreeMap<String, String> {
        let pod = &self.pods[name];
        let value = |variable: &Value| {
            let from = &variable["valueFrom"];
            match (variable["value"].as_str(), from["fieldRef"]["fieldPath"].as_str()) {
                (Some(value), _) => value.to_owned(),
                (_, Some("metadata.name")) => name.to_owned(),
                (_, Some("status.podIP")) => pod.address.clone(),
                _ => {
                    let wanted = &from["configMapKeyRef"];
                    let settings = self.object("ConfigMap", wanted["name"].as_str().expect("a name"));
                    settings["data"][wanted["key"].as_str().expect("a key")].as_str().expect("a value").to_owned()
                }
            }
        };
        let variables = list(&container(&pod.specification)["env"]);
        variables.iter().map(|one| (one["name"].as_str().expect("a name").to_owned(), value(one))).collect()
    }

    /// Command and arguments, variables replaced.
    fn words(&self, name: &str) -> Vec<String> {
        let container = container(&self.pods[name].specification);
        let words = list(&container["command"]).iter().chain(list(&container["args"]));
        let variables = self.variables(name);
        words
            .map(|word| {
                let word = word.as_str().expect("text").to_owned();
                variables.iter().fold(word, |word, (name, value)| word.replace(&format!("$({name})"), value))
            })
            .collect()
    }

    /// A command in a running container, as `kubectl exec` runs it, for at most [`EXEC`].
    pub fn command(&self, name: &str, words: &[&str]) -> Command {
        let Some(first) = self.first_process(name) else { panic!("{name} does not run\n{}", self.log(name)) };
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", EXEC, "nsenter", "--mount", "--net", "--pid", "--root", "--wd=/", "--target"]);
        command.arg(first.as_raw_nonzero().to_string());
        command.args(as_its_user(&self.pods[name].specification)).args(self.environment(name)).args(words);
        command
    }

    /// Runs such a command.
    pub fn exec(&self, name: &str, words: &[&str], input: Option<&[u8]>) -> Output {
        let mut command = self.command(name, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("timeout comes with coreutils");
        let mut stdin = child.stdin.take().expect("is piped");
        // It may end before it has read everything.
        let _ = stdin.write_all(input.unwrap_or_default());
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }

    /// What is process number 1 in the container.
    fn first_process(&self, name: &str) -> Option<Pid> {
        let outer = self.pods[name].container.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }

    /// Ends a container as its deletion does, and returns how long it took and whether it ended well.
    pub fn delete(&mut self, name: &str) -> (Duration, bool) {
        self.pods.get_mut(name).expect("it is there").is_stopped = true;
        let begun = Instant::now();
        let Some(first) = self.first_process(name) else { return (Duration::ZERO, false) };
        kill_process(first, Signal::TERM).expect("it runs");
        let grace = self.pods[name].specification["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        loop {
            let child = self.pods.get_mut(name).and_then(|pod| pod.container.as_mut()).expect("it ran");
            if let Some(status) = child.try_wait().expect("it is a child") {
                return (begun.elapsed(), status.success());
            }
            let over = begun.elapsed().saturating_sub(Duration::from_secs(grace));
            if !over.is_zero() {
                let _ = kill_process(first, Signal::KILL);
            }
            assert!(over < PATIENCE, "{name} does not end\n{}", self.log(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a state; what ends meanwhile is started again, as a kubelet does.
    pub fn eventually<T>(&mut self, what: &str, state: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = state(self) {
                return value;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.logs());
            for name in self.names() {
                let pod = self.pods.get_mut(&name).expect("it is there");
                let ended = pod.container.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
                if ended && !pod.is_stopped {
                    self.start(&name);
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.pods[name].folder.join("log")
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    pub fn logs(&self) -> String {
        let tail = |name: &String| {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().collect();
            format!("== {name}\n{}\n", lines[lines.len().saturating_sub(12)..].join("\n"))
        };
        self.names().iter().map(tail).collect()
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for pod in self.pods.values_mut() {
            for process in pod.container.iter_mut().chain([&mut pod.network]) {
                // With it everything in the container ends.
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

impl Pod {
    /// The pod's network, as `nsenter` takes it.
    pub fn network_file(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.network.id())
    }
}

/// A network namespace with an address on the pods' bridge, as long as the process lives.
fn network(index: usize, address: &str) -> Child {
    let holder = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        .stdin(Stdio::null())
        .spawn()
        .expect("setpriv comes with util-linux");
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let id = holder.id().to_string();
    let begun = Instant::now();
    while of(&id) == of("self") {
        assert!(begun.elapsed() < PATIENCE, "unshare --net does not work here");
        std::thread::sleep(Duration::from_millis(5));
    }
    let link = format!("pod{index}");
    run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &id]);
    run("ip", &["link", "set", &link, "master", "pods", "up"]);
    let inside = format!("--net=/proc/{id}/ns/net");
    run("nsenter", &[&inside, "ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]);
    run("nsenter", &[&inside, "ip", "link", "set", "eth0", "up"]);
    run("nsenter", &[&inside, "ip", "link", "set", "lo", "up"]);
    holder
}

/// No capabilities, and no way to gain any.
fn as_its_user(pod: &Value) -> Vec<String> {
    let context = &pod["securityContext"];
    let number = |name: &str| context[name].as_u64().expect("a number").to_string();
    let (user, group, shared) = (number("runAsUser"), number("runAsGroup"), number("fsGroup"));
    let words = ["setpriv", "--reuid", &user, "--regid", &group, "--groups", &shared, "--no-new-privs"];
    let none = ["--bounding-set=-all", "--inh-caps=-all", "--"];
    words.iter().chain(&none).map(|word| (*word).to_owned()).collect()
}

pub fn container(pod: &Value) -> &Value {
    &pod["containers"][0]
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn render(folder: &Path) -> Vec<Value> {
    let ran = Command::new(repository().join("scripts/check-kubernetes"))
        .arg("--render")
        .arg(folder)
        .output()
        .expect("python3 is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("a list of objects")
}

fn decoded(base64: &str) -> Vec<u8> {
    let mut child = Command::new("base64")
        .arg("--decode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64 comes with coreutils");
    child.stdin.take().expect("is piped").write_all(base64.as_bytes()).expect("writes");
    child.wait_with_output().expect("it ends").stdout
}

fn run(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).output().expect("scripts/setup installs iproute2");
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
