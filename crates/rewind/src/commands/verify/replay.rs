//! The same computation once more, on a fleet of one's own choice.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rewind_artifacts::{digest_of, open_safetensors};
use rewind_certificate::{Certificate, Disclosure, Metrics, Statement, StepStatement};
use rewind_job::{BEGUN_BY_ANOTHER_VERSION, Digest, JobId, Measured, Pool, Report, Source, Specification};
use rewind_proto::v1::JobReport;
use safetensors::{Dtype, SafeTensors};

use super::{Findings, read, statements};
use rewind_client::{Client, read_report};

use crate::{
    arguments::Where,
    commands::follow::{finished, follow_interruptibly},
    error::Error,
    screen::Screen,
};

/// Where bits cannot be compared: accuracies may differ by so many points …
const POINTS: f64 = 2.0;
/// … losses by this share of the certified one …
const LOSS: f64 = 0.1;
/// … and weights, as vectors, by this share of the way that the certified step has moved them.
const DISTANCE: f64 = 0.2;

/// The certified side of the comparison, as it was checked before.
pub struct Certified<'a> {
    pub statement: &'a Statement,
    /// Results of steps, by the steps' names.
    pub weights: &'a [(String, PathBuf)],
    pub disclosure: Option<&'a Disclosure>,
}

/// Submits the certified specification as a new job, and compares what comes of it.
///
/// # Errors
/// The fleet cannot be reached, or the job ends without a result. What differs is a finding, no error.
pub async fn run(certified: &Certified<'_>, at: &Where, findings: &mut Findings) -> Result<(), Error> {
    let statement = certified.statement;
    let mut specification = match Specification::parse(&statement.specification, Path::new("/")) {
        Ok(specification) => specification,
        Err(refusal) => return set_aside(Error::Specification(refusal.to_string()), statement, findings),
    };
    if !data_here_is_the_same(statement, &specification, findings) {
        return Ok(());
    }
    specification.fleet.world_size = statement.world_size;
    let screen = Screen::new();
    let mut client = Client::connect(&at.address()).await?;
    let job = match client.submit(&specification).await {
        Ok(job) => job,
        Err(error) => return set_aside(error.into(), statement, findings),
    };
    screen.say(&format!("{job} runs the computation again"));
    if let Err(error) = finished(&follow_interruptibly(&mut client, &job, &screen).await?) {
        return set_aside(error, statement, findings);
    }
    let files = client.report_files(&job).await?;
    let (report, _) = read_report(&files)?;
    if let Some(why) = another_program(statement, &report) {
        findings.open("replay", format!("not comparable: {why}"));
        findings.stop_judging(why);
    }
    data_read_is_the_same(statement, &report, findings);
    let results: BTreeMap<&str, &Measured> =
        report.measured().map(|measured| (measured.name.as_str(), measured)).collect();
    let obstacles = obstacles(statement, &report);
    if !obstacles.is_empty() {
        findings.open("replay", format!("not bit-comparable: {}", obstacles.join("; ")));
    }
    let again = certificate_of(&job, &files, certified.disclosure.is_some(), findings);
    if let Some((again, opened)) = &again {
        let opened = certified.disclosure.zip(opened.as_ref());
        statements::compare(statement, again, opened, obstacles.is_empty(), findings);
    }
    for step in &statement.steps {
        let check = format!("replay of {}", step.name);
        match results.get(step.name.as_str()).copied() {
            None => findings.fails(&check, format!("{job} has no such step")),
            Some(found) if found.weights == step.weights_after => findings.holds(&check, "the same bits"),
            Some(found) if obstacles.is_empty() => {
                let hedge = match &statement.commit {
                    Some(commit) if commit.ends_with("-dirty") || commit == "unknown" => {
                        "; unless the program was built from other changes, which its commit does not tell"
                    }
                    _ => "",
                };
                let text = format!("other bits on the same kind of machine: {} in {job}{hedge}", found.weights);
                findings.fails(&check, text);
            }
            Some(found) => {
                figures(step, found, findings);
                let began = again.as_ref().and_then(|(again, _)| again.steps.iter().find(|own| own.name == step.name));
                let began_alike = began.is_some_and(|own| own.weights_before == step.weights_before);
                distance_of(&mut client, (certified, &specification), step, (found, began_alike), findings).await?;
            }
        }
    }
    Ok(())
}

/// What the replay's own coordinator certifies, and what opens it where that is wanted.
fn certificate_of(
    job: &JobId,
    files: &JobReport,
    opens: bool,
    findings: &mut Findings,
) -> Option<(Statement, Option<Disclosure>)> {
    let check = "certificate of the replay";
    if files.certificate.is_empty() {
        findings.fails(check, format!("{job} has none: what it read cannot be compared"));
        return None;
    }
    let opened = Certificate::parse(&files.certificate).and_then(|certificate| {
        certificate.verify(None)?;
        let disclosure = opens.then(|| Disclosure::parse(&files.disclosure)).transpose()?;
        disclosure.iter().try_for_each(|disclosure| disclosure.check(&certificate.statement))?;
        Ok((certificate.statement, disclosure))
    });
    opened.map_err(|error| findings.fails(check, error)).ok()
}

/// Files that this machine can read; others are compared when the workers have read them.
fn data_here_is_the_same(statement: &Statement, specification: &Specification, findings: &mut Findings) -> bool {
    let folder = match &specification.data.pool {
        Some(Pool::TinyImagenet(folder)) => Some(folder.as_path()),
        _ => None,
    };
    let mut same = true;
    let mut seen = 0;
    for file in &statement.data.files {
        let Ok(found) = std::fs::metadata(&file.path) else { continue };
        if found.is_dir() && folder == Some(Path::new(&file.path)) {
            continue;
        }
        // A pipe or a device may have no end.
        if !found.is_file() {
            findings.fails("data", format!("{} is no file, and was one when it was certified", file.path));
            same = false;
            continue;
        }
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

/// A specification that is refused, or a job that ends without a result, where another program has made the certified
/// report, is not comparable; everything else is an error.
fn set_aside(error: Error, statement: &Statement, findings: &mut Findings) -> Result<(), Error> {
    let ours =
        statement.version == rewind_version::VERSION && statement.commit.as_deref() == Some(rewind_version::COMMIT);
    let is_refused = matches!(error, Error::Specification(_) | Error::Client(rewind_client::Error::Specification(_)));
    if ours || !(is_refused || matches!(error, Error::JobEnded { .. })) {
        return Err(error);
    }
    let then = program(&statement.version, statement.commit.as_deref());
    let now = rewind_version::VERSION_AND_COMMIT;
    findings.open("replay", format!("not comparable: it was certified by {then}, and this is version {now}: {error}"));
    Ok(())
}

fn program(version: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("version {version} ({commit})"),
        None => format!("version {version}"),
    }
}

/// Why nothing of the replay can be held against the certified job: another version may compute otherwise, and has reasons.
fn another_program(statement: &Statement, report: &Report) -> Option<String> {
    let begun =
        report.warnings.iter().chain(&statement.warnings).find(|text| text.starts_with(BEGUN_BY_ANOTHER_VERSION));
    if let Some(begun) = begun {
        return Some(begun.clone());
    }
    let same = report.version == statement.version && report.commit == statement.commit;
    let now = program(&report.version, report.commit.as_deref());
    let then = program(&statement.version, statement.commit.as_deref());
    (!same).then(|| format!("it ran {now}, and the certified job {then}"))
}

/// Why equal bits cannot be expected.
fn obstacles(statement: &Statement, report: &Report) -> Vec<String> {
    let mut obstacles = Vec::new();
    let machine = serde_json::to_value(&report.machine).unwrap_or_default();
    if machine != statement.machine {
        obstacles.push(format!("it ran on {}, and the certified job on {}", machine, statement.machine));
    }
    obstacles.extend(another_program(statement, report));
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

fn figures(step: &StepStatement, found: &Measured, findings: &mut Findings) {
    let found = Metrics::of(found);
    let far = far_figures(&step.metrics, &found);
    let check = format!("figures of {}", step.name);
    if step.metrics == Metrics::default() && found == Metrics::default() {
        findings.open(&check, "nothing was measured");
    } else if far.is_empty() {
        findings.holds(&check, format!("within {POINTS} points, losses within {} %", 100.0 * LOSS));
    } else {
        findings.fails(&check, format!("further apart than {POINTS} points or {} %: {}", 100.0 * LOSS, far.join(", ")));
    }
}

/// Judges weights by how far the certified step has moved: against the length of all weights, every step looks small.
/// `found` comes with whether the replayed step began with the bits that the certified one began with.
async fn distance_of(
    client: &mut Client,
    (certified, specification): (&Certified<'_>, &Specification),
    step: &StepStatement,
    (found, began_alike): (&Measured, bool),
    findings: &mut Findings,
) -> Result<(), Error> {
    let check = format!("weights of {}, again", step.name);
    let Some(after) = given(certified, &step.weights_after)? else {
        findings.open(&check, "not compared: the certified ones were not given");
        return Ok(());
    };
    let before = match &step.weights_before {
        None => None,
        Some(digest) => match given(certified, digest)? {
            None if specification.model.weights == Some(Source::Artifact(digest.clone())) => {
                Some(client.artifact_bytes(digest).await?)
            }
            given => given,
        },
    };
    let Some(before) = before else {
        findings.open(&check, "not judged: the weights that the certified step began with are not at hand");
        return Ok(());
    };
    let again = client.artifact_bytes(&found.weights).await?;
    match share_of_movement(&before, &after, &again) {
        None => findings.fails(&check, "the tensors are others"),
        Some(share) => {
            let (share_text, allowed) = (100.0 * share, 100.0 * DISTANCE);
            let text = format!("{share_text:.2} % of the step's own movement apart, and {allowed} % are allowed");
            if share <= DISTANCE {
                findings.holds(&check, text);
            } else if began_alike {
                findings.fails(&check, text);
            } else {
                findings.open(&check, format!("{text}; but it began with other weights than the certified step"));
            }
        }
    }
    Ok(())
}

/// The weights with this digest: a step's result that was given, or a file that the job began with.
fn given(certified: &Certified, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
    let Certified { statement, weights, .. } = certified;
    let left = |name: &String| statement.steps.iter().any(|step| step.name == *name && step.weights_after == *digest);
    if let Some((_, file)) = weights.iter().find(|(name, _)| left(name)) {
        return Ok(Some(read(file)?));
    }
    let file = statement.data.files.iter().find(|file| file.digest == *digest).map(|file| Path::new(&file.path));
    let bytes = file.filter(|path| path.is_file()).and_then(|path| std::fs::read(path).ok());
    Ok(bytes.filter(|bytes| digest_of(bytes) == *digest))
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

/// |found − certified| / |certified − before| over all float32 tensors; none if names or shapes differ.
fn share_of_movement(before: &[u8], certified: &[u8], found: &[u8]) -> Option<f64> {
    let [before, certified, found] = [before, certified, found].map(open_safetensors);
    let (before, certified, found) = (before.ok()?, certified.ok()?, found.ok()?);
    Some(distance(&found, &certified)? / distance(&certified, &before)?)
}

fn distance(one: &SafeTensors, other: &SafeTensors) -> Option<f64> {
    if one.len() != other.len() {
        return None;
    }
    let mut squares = 0.0;
    for (name, tensor) in one.tensors() {
        let other = other.tensor(&name).ok()?;
        if tensor.dtype() != Dtype::F32 || other.dtype() != Dtype::F32 || tensor.shape() != other.shape() {
            return None;
        }
        let value = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("pieces of four bytes")));
        let pairs = tensor.data().chunks_exact(4).zip(other.data().chunks_exact(4));
        squares += pairs.map(|(one, other)| (value(one) - value(other)).powi(2)).sum::<f64>();
    }
    Some(squares.sqrt())
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
    fn the_distance_is_relative_to_what_the_certified_step_has_moved() {
        let [before, certified] = [[100.0, 100.0], [103.0, 104.0]].map(|values| file(values, vec![2]));
        let share = |found: [f32; 2], shape| share_of_movement(&before, &certified, &file(found, shape));
        assert_eq!(share([103.0, 104.0], vec![2]), Some(0.0));
        assert_eq!(share([103.0, 104.5], vec![2]), Some(0.1));
        assert_eq!(share([100.0, 100.0], vec![2]), Some(1.0), "a replay that has moved nothing is far away");
        assert_eq!(share([103.0, 104.0], vec![1, 2]), None);
        assert_eq!(share_of_movement(&before, &certified, b"nothing"), None);
        let still = share_of_movement(&certified, &certified, &before).unwrap();
        assert!(still > DISTANCE, "the certified step has moved nothing, and the replay has");
    }

    #[test]
    fn what_is_no_file_any_more_is_not_read() {
        let text = include_str!("../../../../../examples/quick.toml");
        let specification = Specification::parse(text, Path::new("/examples")).unwrap();
        let mut statement = statements::sample(&specification);
        statement.data.files[0].path = "/dev/zero".to_owned();
        let mut findings = Findings::new(true);
        assert!(!data_here_is_the_same(&statement, &specification, &mut findings));
        assert!(!findings.all_hold());
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
