//! What a certificate says of a job.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use rewind_job::{
    Action, Digest, Generation, Judgement, Measured, Part, Reader, Report, SampleRecord, ScoreValue, Source, StepReads,
    Unlearn, Verdict, WorldSize,
};
use serde::{Deserialize, Serialize};

use crate::{Certificate, Disclosure, SigningKey, certificate::FORMAT, merkle::sha256, not_proven};

/// Everything that is signed. Its form changes with `format` alone: whatever grows in a report is written down here in
/// structures of this file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub format: u32,
    pub job: String,
    /// When the coordinator took its last decision about the job, UTC (RFC 3339).
    pub issued_at: String,
    /// Of the program that made the report.
    pub version: String,
    /// The commit that this program was built from. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub world_size: WorldSize,
    /// Gangs that the job has had: 1 if it was never interrupted.
    pub generations: u64,
    /// What decides the bits of training, as in the report.
    pub machine: serde_json::Value,
    /// TOML with absolute paths: a replay needs nothing else.
    pub specification: String,
    pub data: DataStatement,
    /// `D_f`.
    pub forget: Sealed,
    /// In the specification's order.
    pub steps: Vec<StepStatement>,
    /// The report's.
    pub warnings: Vec<String>,
    /// SHA-256 of report.json.
    pub report: Digest,
    /// The Ed25519 key, 32 bytes in hexadecimal.
    pub signed_with: String,
    pub not_proven: Vec<String>,
}

/// The data that the workers read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataStatement {
    /// By part; parts that the job did not have are missing.
    pub samples: BTreeMap<String, u64>,
    pub files: Vec<FileStatement>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStatement {
    pub path: String,
    /// SHA-256.
    pub digest: Digest,
}

/// Some samples, of which only the number is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    pub samples: u64,
    /// Merkle root (RFC 6962) over one salted leaf a sample, in the order of the leaves' hashes.
    pub root: Digest,
}

/// What one reader read of one part in a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedReads {
    pub by: Reader,
    pub part: Part,
    pub samples: u64,
    /// Merkle root (RFC 6962) over one salted leaf an id, in the order of the leaves' hashes.
    pub root: Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepStatement {
    pub name: String,
    pub method: String,
    /// `forget-only`, `retain-using` or `reference`.
    pub group: String,
    /// SHA-256 of the weights that the step began with; null: fresh ones, drawn by the specification's seed, or none.
    pub weights_before: Option<Digest>,
    /// SHA-256 of the weights that are the step's result (safetensors).
    pub weights_after: Digest,
    pub rounds: u64,
    /// The round whose weights they are.
    pub selected: u32,
    /// The rule that ended the step, and what it said.
    pub stop: Option<StopStatement>,
    pub reads: Vec<SealedReads>,
    pub metrics: Metrics,
    /// How an unlearning step ended. Not in formats 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<JudgementStatement>,
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgementStatement {
    /// `forgot`, `not-known`, `not-forgotten`, `forgot-and-damaged` or `damaged`.
    pub verdict: Verdict,
    pub sentence: String,
    pub goals: Vec<GoalStatement>,
    pub damage: Vec<DamageStatement>,
}

/// A rule that the step waited for. Figures are in the unit of the report; null where they are not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoalStatement {
    pub rule: String,
    pub wanted: f64,
    pub figure: String,
    pub before: Option<f64>,
    pub found: Option<f64>,
    pub met: bool,
}

/// A figure that shows damage; null where it was not measured, or is not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DamageStatement {
    pub figure: String,
    pub before: Option<f64>,
    pub after: Option<f64>,
    pub limit: f64,
    pub damaged: bool,
}

impl JudgementStatement {
    fn of(judgement: &Judgement) -> Self {
        let number = |value: Option<ScoreValue>| value.and_then(ScoreValue::number);
        Self {
            verdict: judgement.verdict,
            sentence: judgement.sentence.clone(),
            goals: (judgement.goals.iter())
                .map(|goal| GoalStatement {
                    rule: goal.rule.name().to_owned(),
                    wanted: goal.wanted,
                    figure: goal.figure.to_string(),
                    before: number(goal.before),
                    found: number(goal.found),
                    met: goal.met,
                })
                .collect(),
            damage: (judgement.damage.iter())
                .map(|sign| DamageStatement {
                    figure: sign.figure.to_string(),
                    before: number(sign.before),
                    after: number(sign.after),
                    limit: sign.limit,
                    damaged: sign.damaged,
                })
                .collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopStatement {
    pub rule: String,
    pub text: String,
}

/// As the report has them: accuracies in percent, losses in nats; null where they were not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub ra: Option<f64>,
    pub ua: Option<f64>,
    pub ta: Option<f64>,
    pub va: Option<f64>,
    pub clean: Option<f64>,
    pub forget_loss: Option<f64>,
    pub test_loss: Option<f64>,
    pub mia: Option<f64>,
    pub mia_attack_accuracy: Option<f64>,
    pub average_gap: Option<f64>,
    /// On held-out samples of a class that was forgotten whole. Not in format 1, as those below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_class_accuracy: Option<f64>,
    /// A backdoor's success on the forget data and on unseen images with the trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backdoor_forget: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backdoor_held_out: Option<f64>,
    /// Of the membership attack "logistic, loss".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_attack_accuracy: Option<f64>,
}

impl Metrics {
    pub fn of(measured: &Measured) -> Self {
        Self {
            ra: measured.ra,
            ua: measured.ua,
            ta: measured.ta,
            va: measured.va,
            clean: measured.clean,
            forget_loss: measured.forget_loss,
            test_loss: measured.test_loss,
            mia: measured.mia,
            mia_attack_accuracy: measured.mia_attack_accuracy,
            average_gap: measured.average_gap,
            forgotten_class_accuracy: measured.forgotten_class_accuracy,
            backdoor_forget: measured.backdoor.map(|backdoor| backdoor.forget),
            backdoor_held_out: measured.backdoor.and_then(|backdoor| backdoor.held_out),
            loss_attack_accuracy: measured.loss_attack.as_ref().and_then(|attack| attack.accuracy),
        }
    }

    /// With their names.
    pub fn all(&self) -> [(&'static str, Option<f64>); 14] {
        [
            ("RA", self.ra),
            ("UA", self.ua),
            ("TA", self.ta),
            ("VA", self.va),
            ("clean", self.clean),
            ("loss on forget data", self.forget_loss),
            ("loss on test data", self.test_loss),
            ("MIA (SVC, confidence)", self.mia),
            ("MIA's own accuracy", self.mia_attack_accuracy),
            ("average gap", self.average_gap),
            ("accuracy on the class, held-out", self.forgotten_class_accuracy),
            ("backdoor on forget data", self.backdoor_forget),
            ("backdoor on unseen images", self.backdoor_held_out),
            ("MIA (logistic, loss)", self.loss_attack_accuracy),
        ]
    }
}

/// What a coordinator knows of a finished job.
pub struct Facts<'a> {
    pub report: &'a Report,
    /// The report as it is given out.
    pub report_bytes: &'a [u8],
    /// The digest of the report as it is stored: the job's alone, and the same for ever.
    pub stored: &'a Digest,
    pub record: SampleRecord,
    pub generation: Generation,
    /// Unix milliseconds.
    pub issued_at: u64,
}

/// The certificate of a job, and what opens its seals. The same facts and key give the same bytes.
pub fn issue(facts: Facts, key: &SigningKey) -> (Certificate, Disclosure) {
    let Facts { report, report_bytes, stored, record, generation, issued_at } = facts;
    let salt = key.derive(&[b"salt of a job", report.job.as_bytes(), stored.0.as_bytes()]);
    let disclosure = Disclosure::new(&report.job, salt, record);
    let data = &report.data;
    let apart = data.class_apart;
    let parts = [
        (Part::Forget.name().to_owned(), Some(data.forget)),
        (Part::Remaining.name().to_owned(), data.remaining),
        (Part::Test.name().to_owned(), data.test),
        (Part::Validation.name().to_owned(), data.validation),
        (Part::Attack.name().to_owned(), data.attack),
        // They are read as samples of these parts, behind the others.
        (format!("{}, class apart", Part::Test.name()), apart.map(|apart| apart.test)),
        (format!("{}, class apart", Part::Validation.name()), apart.map(|apart| apart.validation)),
        (format!("{}, class apart", Part::Attack.name()), apart.map(|apart| apart.attack)),
        (format!("{}, with the trigger", Part::Test.name()), data.triggered),
    ];
    let files = data.files.iter().map(|(path, digest)| FileStatement { path: path.clone(), digest: digest.clone() });
    let statement = Statement {
        format: FORMAT,
        job: report.job.clone(),
        issued_at: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(issued_at)).to_string(),
        version: report.version.clone(),
        commit: report.commit.clone(),
        world_size: report.world_size,
        generations: generation.0,
        machine: serde_json::to_value(&report.machine).expect("words and a number"),
        specification: report.specification.to_toml(),
        data: DataStatement {
            samples: parts.into_iter().filter_map(|(part, count)| Some((part, count?))).collect(),
            files: files.collect(),
        },
        forget: disclosure.sealed_forget(),
        steps: steps(report, &disclosure),
        warnings: report.warnings.clone(),
        report: Digest(hex::encode(sha256(&[report_bytes]))),
        signed_with: key.public().to_hex(),
        not_proven: not_proven(report, generation),
    };
    (Certificate::sign(statement, key), disclosure)
}

fn steps(report: &Report, disclosure: &Disclosure) -> Vec<StepStatement> {
    let results: BTreeMap<&str, &Measured> =
        report.measured().map(|measured| (measured.name.as_str(), measured)).collect();
    let statement = |step: &rewind_job::Step| {
        let measured = results.get(step.name.as_str())?;
        let stop = report.stop.iter().find(|stop| stop.name == step.name);
        let before = match &step.action {
            Action::Unlearn(unlearn) => weights_before(report, unlearn, &results),
            _ => None,
        };
        let of_step = |reads: &&StepReads| reads.step == step.name;
        Some(StepStatement {
            name: step.name.clone(),
            method: measured.method.clone(),
            group: measured.group.clone(),
            weights_before: before,
            weights_after: measured.weights.clone(),
            rounds: measured.rounds.len() as u64,
            selected: measured.selected.0,
            stop: stop.map(|stop| StopStatement { rule: stop.rule.clone(), text: stop.text.clone() }),
            reads: disclosure.reads.iter().filter(of_step).map(|reads| disclosure.sealed_reads(reads)).collect(),
            metrics: Metrics::of(measured),
            judgement: measured.judgement.as_ref().map(JudgementStatement::of),
        })
    };
    report.specification.steps.iter().filter_map(statement).collect()
}

fn weights_before(report: &Report, unlearn: &Unlearn, results: &BTreeMap<&str, &Measured>) -> Option<Digest> {
    if let Some(step) = &unlearn.from {
        return results.get(step.as_str()).map(|measured| measured.weights.clone());
    }
    match report.specification.model.weights.as_ref()? {
        Source::Artifact(digest) => Some(digest.clone()),
        Source::File(path) => {
            let path = path.display().to_string();
            report.data.files.iter().find(|(file, _)| *file == path).map(|(_, digest)| digest.clone())
        }
    }
}
