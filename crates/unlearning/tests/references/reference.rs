//! Cases at rest, and the Python that answers them.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

/// What both sides are given.
pub struct Case {
    /// Of the folder that it lies in while it is answered, and of what is said about it.
    pub name: String,
    /// `case.json`.
    pub asked: Value,
    /// `inputs.safetensors`.
    pub inputs: BTreeMap<String, Tensor>,
    /// The network's tensors in its order.
    pub names: Vec<String>,
}

/// What the reference answers.
pub struct Answer {
    pub tensors: BTreeMap<String, Tensor>,
    pub figures: Value,
}

impl Case {
    pub fn new(kind: &str, name: impl Into<String>, mut asked: Value) -> Self {
        asked["kind"] = json!(kind);
        Self { name: name.into(), asked, inputs: BTreeMap::new(), names: Vec::new() }
    }

    pub fn with(mut self, name: impl Into<String>, tensor: &Tensor) -> Self {
        self.inputs.insert(name.into(), tensor.detach().copy());
        self
    }
}

impl Answer {
    /// A tensor that must be there.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, String> {
        self.tensors.get(name).ok_or_else(|| format!("the reference answers no {name}"))
    }

    /// A number that must be there.
    pub fn figure(&self, name: &str) -> Result<f64, String> {
        self.figures[name].as_f64().ok_or_else(|| format!("the reference answers no number {name}: {}", self.figures))
    }
}

/// Compares ours with the reference, and then with the reference with each fault planted that can show in the case:
/// with these the comparison must fail, or it would not find such a mistake of ours either. Says what is wrong.
pub fn compare_with_reference(case: &Case, compare: impl Fn(&Answer) -> Result<(), String>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder for the case");
    write(case, folder.path());
    let mut python = Python::take();
    let answered = python.ask(&[folder.path().to_str().expect("a path in UTF-8"), "--plant-each"]);
    python.give_back();
    if let Err(problem) = answered {
        return vec![format!("{}: {problem}", case.name)];
    }
    let mut wrong = Vec::new();
    if let Err(difference) = read(folder.path()).and_then(|answer| compare(&answer)) {
        wrong.push(format!("{}: {difference}", case.name));
    }
    let faults = planted(folder.path());
    if faults.is_empty() {
        wrong.push(format!("{}: no fault can show in it, so it shows nothing", case.name));
    }
    for (fault, answer) in faults {
        match answer {
            Ok(answer) if compare(&answer).is_ok() => {
                wrong.push(format!("{}: finds nothing where {fault} is planted", case.name));
            }
            Ok(_) => {}
            Err(problem) => wrong.push(format!("{}: with {fault} planted: {problem}", case.name)),
        }
    }
    wrong
}

/// The faults that can show in a case: [`compare_with_reference`] asks for all of them.
pub fn faults_in(case: &Case) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder for the case");
    write(case, folder.path());
    known_faults(folder.path().to_str().expect("a path in UTF-8"))
}

/// All faults that the reference knows of a kind, or of `KIND/NAME`.
pub fn known_faults(kind: &str) -> Vec<String> {
    let mut python = Python::take();
    let said = python.ask(&["--faults", kind]);
    python.give_back();
    said.unwrap_or_else(|problem| panic!("{kind}: {problem}")).lines().map(str::to_owned).collect()
}

/// What each fault would make of the answer.
fn planted(folder: &Path) -> Vec<(String, Result<Answer, String>)> {
    let Ok(faults) = std::fs::read_dir(folder.join("planted")) else {
        return Vec::new();
    };
    let faults = faults.map(|fault| fault.expect("is listed"));
    faults.map(|fault| (fault.file_name().to_string_lossy().into_owned(), read(&fault.path()))).collect()
}

/// Fails with all that is wrong.
pub fn expect_nothing(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Says where two tensors differ by more than `tolerance`.
pub fn near(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) -> Result<(), String> {
    if found.size() != expected.size() {
        return Err(format!("{name} is {:?}, and the reference's {:?}", found.size(), expected.size()));
    }
    let distance = (found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max().double_value(&[]);
    // What is no number is not near.
    if distance <= tolerance { Ok(()) } else { Err(format!("{name} is {distance:e} from the reference")) }
}

// ------------------------------------------------------------------------------------------------------------- at rest

fn write(case: &Case, folder: &Path) {
    std::fs::write(folder.join("case.json"), case.asked.to_string()).expect("writes the case");
    let bytes: Vec<(&String, Dtype, Vec<usize>, Vec<u8>)> = case
        .inputs
        .iter()
        .map(|(name, tensor)| {
            let tensor = tensor.contiguous();
            let (dtype, size) = match tensor.kind() {
                Kind::Float => (Dtype::F32, 4),
                Kind::Double => (Dtype::F64, 8),
                Kind::Int64 => (Dtype::I64, 8),
                Kind::Bool => (Dtype::BOOL, 1),
                other => panic!("{name} is {other:?}"),
            };
            let mut bytes = vec![0; tensor.numel() * size];
            tensor.copy_data_u8(&mut bytes, tensor.numel());
            (name, dtype, tensor.size().iter().map(|&side| side as usize).collect(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as its shape says"))
    });
    let names = HashMap::from([("names".to_owned(), json!(case.names).to_string())]);
    let file = safetensors::serialize(views, Some(names)).expect("serialises");
    std::fs::write(folder.join("inputs.safetensors"), file).expect("writes the inputs");
}

fn read(folder: &Path) -> Result<Answer, String> {
    let file = |name: &str| std::fs::read(folder.join(name)).map_err(|error| format!("no {name}: {error}"));
    let bytes = file("expected.safetensors")?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| format!("expected.safetensors: {error}"))?;
    let tensor = |view: &TensorView| {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::BOOL => Kind::Bool,
            other => panic!("the reference answers {other:?}"),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        Tensor::from_data_size(view.data(), &shape, kind)
    };
    let figures = serde_json::from_slice(&file("expected.json")?).map_err(|error| format!("expected.json: {error}"))?;
    Ok(Answer { tensors: tensors.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect(), figures })
}

// ---------------------------------------------------------------------------------------------------------- the Python

/// The workspace.
pub fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Those that wait for the next case: starting PyTorch takes seconds.
static IDLE: Mutex<Vec<Python>> = Mutex::new(Vec::new());

/// A running `answer.py`; it ends when its standard input does.
struct Python {
    _process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn take() -> Self {
        let idle = IDLE.lock().expect("nobody panics with it").pop();
        idle.unwrap_or_else(Self::start)
    }

    fn give_back(self) {
        IDLE.lock().expect("nobody panics with it").push(self);
    }

    fn start() -> Self {
        let checkout = checkout();
        let mut process = Command::new(checkout.join("scripts/pytorch"))
            .arg(checkout.join("crates/unlearning/tests/references/answer.py"))
            .arg(checkout.join("tests/reference/run.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/pytorch starts");
        let input = process.stdin.take().expect("is piped");
        let output = BufReader::new(process.stdout.take().expect("is piped"));
        Self { _process: process, input, output }
    }

    /// Runs run.py with these arguments; what it printed, or what went wrong.
    fn ask(&mut self, arguments: &[&str]) -> Result<String, String> {
        writeln!(self.input, "{}", json!(arguments)).expect("scripts/pytorch listens: what it lacks is said above");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("reads");
        assert!(!line.is_empty(), "scripts/pytorch ended (what it said is above)");
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        match answer["wrong"].take() {
            Value::Null => Ok(answer["said"].as_str().unwrap_or_default().to_owned()),
            wrong => Err(wrong.as_str().unwrap_or_default().to_owned()),
        }
    }
}
