//! The same computation once more, on a fleet of one's own choice.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rewind_artifacts::digest_of;
use rewind_certificate::{Metrics, Statement, StepStatement};
use rewind_job::{Digest, Measured, Report, Specification};
use safetensors::{Dtype, SafeTensors};

use super::{Findings, read};
use crate::{
    arguments::Where,
    client::Client,
    commands::follow::{finished, follow_interruptibly},
    error::Error,
    screen::Screen,
};

/// Where bits cannot be compared: accuracies may differ by so many points …
const POINTS: f64 = 2.0;
/// … losses by this share of the certified one …
const LOSS: f64 = 0.1;
/// … and weights, as vectors, by this share of their length.
const DISTANCE: f64 = 0.05;

/// Submits the certified specification as a new job, and compares what comes of it.
///
/// # Errors
/// The fleet cannot be reached, or the job ends without a result. What differs is a finding, no error.
pub async fn run(
    statement: &Statement,
    weights: &[(String, PathBuf)],
    at: &Where,
    findings: &mut Findings,
) -> Result<(), Error> {
    if !data_here_is_the_same(statement, findings) {
        return Ok(());
    }
    let refused = |error: rewind_job::SpecificationError| Error::Specification(error.to_string());
    let mut specification = Specification::parse(&statement.specification, Path::new("/")).map_err(refused)?;
    specification.fleet.world_size = statement.world_size;
    let screen = Screen::new();
    let mut client = Client::connect(at).await?;
    let job = client.submit(&specification).await?;
    screen.say(&format!("{job} runs the computation again"));
    finished(&follow_interruptibly(&mut client, &job, &screen).await?)?;
    let (report, _) = client.report(&job).await?;
    data_read_is_the_same(statement, &report, findings);
    let results: BTreeMap<&str, &Measured> = report
        .pretrained
        .iter()
        .chain(&report.retrain)
        .chain(&report.methods)
        .map(|measured| (measured.name.as_str(), measured))
        .collect();
    let obstacles = obstacles(statement, &report);
    if !obstacles.is_empty() {
        findings.open("replay", format!("not bit-comparable: {}", obstacles.join("; ")));
    }
    for step in &statement.steps {
        let check = format!("replay of {}", step.name);
        match results.get(step.name.as_str()) {
            None => findings.fails(&check, format!("{job} has no such step")),
            Some(found) if found.weights == step.weights_after => findings.holds(&check, "the same bits"),
            Some(found) if obstacles.is_empty() => {
                let text = format!("other bits on the same kind of machine: {} in {job}", found.weights);
                findings.fails(&check, text);
            }
            Some(found) => {
                let file = weights.iter().find(|(name, _)| *name == step.name).map(|(_, file)| file.as_path());
                compare(&mut client, step, found, file, findings).await?;
            }
        }
    }
    Ok(())
}

/// Files that this machine can read; others are compared when the workers have read them.
fn data_here_is_the_same(statement: &Statement, findings: &mut Findings) -> bool {
    let mut same = true;
    let mut seen = 0;
    for file in &statement.data.files {
        let Ok(bytes) = std::fs::read(&file.path) else { continue };
        seen += 1;
        let found = digest_of(&bytes);
        if found != file.digest {
            findings.fails("data", format!("{} has the SHA-256 {found}, and {} was certified", file.path, file.digest));
            same = false;
        }
    }
    if same && seen > 0 {
        findings.holds("data", format!("{seen} of {} files are here, as certified", statement.data.files.len()));
    }
    same
}

fn data_read_is_the_same(statement: &Statement, report: &Report, findings: &mut Findings) {
    let found: BTreeMap<&str, &Digest> =
        report.data.files.iter().map(|(path, digest)| (path.as_str(), digest)).collect();
    let other = statement.data.files.iter().find(|file| found.get(file.path.as_str()) != Some(&&file.digest));
    match other {
        None => findings.holds("data read", "the workers read the certified files"),
        Some(file) => findings.fails("data read", format!("the workers read another {}", file.path)),
    }
}

/// Why equal bits cannot be expected.
fn obstacles(statement: &Statement, report: &Report) -> Vec<String> {
    let mut obstacles = Vec::new();
    let machine = serde_json::to_value(&report.machine).unwrap_or_default();
    if machine != statement.machine {
        obstacles.push(format!("it ran on {}, and the certified job on {}", machine, statement.machine));
    }
    if report.version != statement.version {
        obstacles.push(format!("it ran version {}, and the certified job {}", report.version, statement.version));
    }
    if report.world_size != statement.world_size {
        let (now, then) = (report.world_size, statement.world_size);
        obstacles.push(format!("it ran on {now} workers, and the certified job on {then}"));
    }
    // As the coordinator words it.
    let fewer = |warnings: &[String]| warnings.iter().any(|warning| warning.starts_with("generation "));
    if fewer(&statement.warnings) || fewer(&report.warnings) {
        obstacles.push("the number of workers changed on the way".to_owned());
    }
    if statement.steps.iter().any(|step| step.stop.as_ref().is_some_and(|stop| stop.rule == "wall-time")) {
        obstacles.push("a step was ended by the clock".to_owned());
    }
    obstacles
}

async fn compare(
    client: &mut Client,
    step: &StepStatement,
    found: &Measured,
    certified: Option<&Path>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let far = far_figures(&step.metrics, &Metrics::of(found));
    let check = format!("figures of {}", step.name);
    if far.is_empty() {
        findings.holds(&check, format!("within {POINTS} points, losses within {} %", 100.0 * LOSS));
    } else {
        findings.fails(&check, format!("further apart than {POINTS} points or {} %: {}", 100.0 * LOSS, far.join(", ")));
    }
    let check = format!("weights of {}, again", step.name);
    let Some(certified) = certified else {
        findings.open(&check, "not compared: the certified ones were not given");
        return Ok(());
    };
    let folder = tempfile::tempdir().map_err(|source| Error::System { what: "make a folder", source })?;
    let file = folder.path().join("weights.safetensors");
    client.artifact(&found.weights, &file).await?;
    match distance(&read(certified)?, &read(&file)?) {
        Some(share) if share <= DISTANCE => {
            findings.holds(&check, format!("{:.2} % apart, and {} % are allowed", 100.0 * share, 100.0 * DISTANCE));
        }
        Some(share) => {
            findings.fails(&check, format!("{:.2} % apart, and {} % are allowed", 100.0 * share, 100.0 * DISTANCE));
        }
        None => findings.fails(&check, "the tensors are others"),
    }
    Ok(())
}

/// Figures that differ by more than is allowed, with both values.
fn far_figures(certified: &Metrics, found: &Metrics) -> Vec<String> {
    let pairs = certified.all().into_iter().zip(found.all());
    let far = pairs.filter_map(|((name, certified), (_, found))| {
        let is_near = match (certified, found) {
            (Some(certified), Some(found)) if name.starts_with("loss") => {
                (certified - found).abs() <= LOSS * certified.abs()
            }
            (Some(certified), Some(found)) => (certified - found).abs() <= POINTS,
            (None, None) => true,
            _ => false,
        };
        let text = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.3}"));
        (!is_near).then(|| format!("{name} {} and {}", text(certified), text(found)))
    });
    far.collect()
}

/// |found − certified| / |certified| over all float32 tensors; none if names or shapes differ.
fn distance(certified: &[u8], found: &[u8]) -> Option<f64> {
    let (certified, found) = (SafeTensors::deserialize(certified).ok()?, SafeTensors::deserialize(found).ok()?);
    if certified.len() != found.len() {
        return None;
    }
    let (mut squares, mut differences) = (0.0, 0.0);
    for (name, tensor) in certified.tensors() {
        let other = found.tensor(&name).ok()?;
        if tensor.dtype() != Dtype::F32 || other.dtype() != Dtype::F32 || tensor.shape() != other.shape() {
            return None;
        }
        let value = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("pieces of four bytes")));
        for (one, other) in tensor.data().chunks_exact(4).zip(other.data().chunks_exact(4)) {
            squares += value(one).powi(2);
            differences += (value(one) - value(other)).powi(2);
        }
    }
    Some((differences / squares).sqrt())
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn file(values: [f32; 2], shape: Vec<usize>) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape, &bytes).unwrap();
        safetensors::serialize([("w", view)], None).unwrap()
    }

    #[test]
    fn the_distance_is_relative_to_the_certified_weights() {
        let certified = file([3.0, 4.0], vec![2]);
        assert_eq!(distance(&certified, &certified), Some(0.0));
        assert!((distance(&certified, &file([3.0, 4.5], vec![2])).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(distance(&certified, &file([3.0, 4.0], vec![1, 2])), None);
        assert_eq!(distance(&certified, b"nothing"), None);
    }

    #[test]
    fn figures_may_differ_a_little_and_may_not_be_missing() {
        let of = |ta: f64, loss: f64| Metrics { ta: Some(ta), test_loss: Some(loss), ..Metrics::default() };
        assert!(far_figures(&of(90.0, 0.5), &of(91.9, 0.54)).is_empty());
        assert_eq!(far_figures(&of(90.0, 0.5), &of(92.1, 0.56)).len(), 2);
        assert_eq!(
            far_figures(&of(90.0, 0.5), &Metrics::default()),
            ["TA 90.000 and none", "loss on test data 0.500 and none"]
        );
    }
}
