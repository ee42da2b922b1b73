//! What a replay is certified to have done, beside what was certified first.

use rewind_certificate::{Disclosure, SealedReads, Statement, StepStatement};

use super::Findings;

/// Compares all but the weights. `opened`: what opens the first certificate, and the second. `same_machine`: equal bits
/// can be expected, and so equal figures and choices.
pub fn compare(
    certified: &Statement,
    again: &Statement,
    opened: Option<(&Disclosure, &Disclosure)>,
    same_machine: bool,
    findings: &mut Findings,
) {
    equal("number to forget, again", certified.forget.samples, again.forget.samples, findings);
    equal("numbers of samples, again", &certified.data.samples, &again.data.samples, findings);
    match opened {
        None => findings.open("samples, again", "which ones were forgotten and read was not compared: no disclosure"),
        Some((before, now)) => {
            forget_data(before, now, findings);
            let check = "ids read, again";
            match (before.reads == now.reads, same_machine) {
                (true, _) => findings.holds(check, "every step read the same samples"),
                (false, true) => findings.fails(check, "a step read other samples, on the same kind of machine"),
                (false, false) => findings.open(check, "a step read other samples, on another kind of machine"),
            }
        }
    }
    for step in &certified.steps {
        // That it is missing is said with its weights.
        let Some(found) = again.steps.iter().find(|found| found.name == step.name) else { continue };
        let (check, then, now) = (format!("reads of {}, again", step.name), numbers(step), numbers(found));
        if then != now && !same_machine && step.rounds != found.rounds {
            findings.open(&check, format!("{now}, and {then} were certified; it took other numbers of rounds"));
        } else {
            equal(&check, then, now, findings);
        }
        if same_machine {
            let of = |step: &StepStatement| {
                let StepStatement { rounds, selected, weights_before, metrics, stop, judgement, .. } = step;
                let figures = metrics.all().map(|(name, value)| format!("{name} {value:?}")).join(", ");
                let stop = stop.as_ref().map_or("none", |stop| stop.rule.as_str());
                format!(
                    "{rounds} rounds, {selected} selected, stop rule {stop}, began with {weights_before:?}, {figures}, {}",
                    judgement.as_ref().map_or("no verdict", |judgement| judgement.verdict.name())
                )
            };
            equal(&format!("course of {}, again", step.name), of(step), of(found), findings);
        }
    }
}

fn forget_data(before: &Disclosure, now: &Disclosure, findings: &mut Findings) {
    let check = "forget data, again";
    let other = before.forget.iter().zip(&now.forget).find(|(then, now)| then != now);
    match other {
        None if before.forget.len() == now.forget.len() => {
            findings.holds(check, format!("the same {} samples, with the same content", now.forget.len()));
        }
        None => {
            findings.fails(check, format!("{} samples, and {} were certified", now.forget.len(), before.forget.len()))
        }
        Some((then, now)) => {
            let text = format!("sample {} ({}), and {} ({}) was certified", now.id, now.digest, then.id, then.digest);
            findings.fails(check, text);
        }
    }
}

/// How many samples of each part each reader read.
fn numbers(step: &StepStatement) -> String {
    let number = |reads: &SealedReads| format!("{} {} by {}", reads.samples, reads.part.name(), reads.by.name());
    step.reads.iter().map(number).collect::<Vec<_>>().join(", ")
}

fn equal<T: PartialEq + std::fmt::Debug>(check: &str, certified: T, found: T, findings: &mut Findings) {
    if certified == found {
        findings.holds(check, "as certified");
    } else {
        findings.fails(check, format!("{found:?}, and {certified:?} was certified"));
    }
}

/// A statement of a job with one step, for tests.
#[cfg(test)]
pub fn sample(specification: &rewind_job::Specification) -> Statement {
    tests::issued(specification, &[5, 9], 90.0).0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rewind_artifacts::digest_of;
    use rewind_certificate::{Facts, SigningKey, issue};
    use rewind_job::*;

    use super::*;

    /// With a key of its own, as another fleet has it.
    pub fn issued(specification: &Specification, ids: &[u32], ua: f64) -> (Statement, Disclosure) {
        let measured = Measured {
            name: "task-vector".into(),
            group: "forget-only".into(),
            weights: digest_of(b"weights"),
            ua: Some(ua),
            ..Measured::default()
        };
        let report = serde_json::json!({
            "version": "0.1.0",
            "job": "job-1",
            "world_size": 1,
            "specification": specification,
            "data": { "forget": ids.len(), "files": [["/data/images", "ab".repeat(32)]] },
            "machine": { "threads": 1, "libtorch": "2.13.0", "cpu_capability": "AVX2", "device": "cpu" },
            "methods": [measured],
            "stop": [],
            "recovered": [],
            "warnings": [],
        });
        let reads = StepReads {
            step: "task-vector".into(),
            by: Reader::Method,
            part: Part::Forget,
            ids: ids.iter().copied().collect(),
        };
        let sample = |&id: &u32| SampleDigest { id, digest: digest_of(&id.to_be_bytes()) };
        let facts = Facts {
            report: &serde_json::from_value(report).unwrap(),
            report_bytes: b"report",
            stored: &digest_of(b"stored"),
            record: SampleRecord { forget: ids.iter().map(sample).collect(), reads: vec![reads] },
            generation: Generation(1),
            issued_at: 0,
        };
        let key = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        let (certificate, disclosure) = issue(facts, &key);
        (certificate.statement, disclosure)
    }

    /// Whether a replay with these ids and this figure passes.
    fn passes(ids: &[u32], ua: f64, discloses: bool, same_machine: bool) -> bool {
        let text = include_str!("../../../../../examples/quick.toml");
        let specification = Specification::parse(text, Path::new("/examples")).unwrap();
        let (before, now) = (issued(&specification, &[5, 9], 90.0), issued(&specification, ids, ua));
        assert_ne!(before.0.forget.root, now.0.forget.root, "roots of two keys cannot be compared");
        let mut findings = Findings::new(true);
        let opened = discloses.then_some((&before.1, &now.1));
        compare(&before.0, &now.0, opened, same_machine, &mut findings);
        findings.all_hold()
    }

    #[test]
    fn a_replay_that_forgot_other_samples_fails_where_the_seals_are_opened() {
        assert!(passes(&[5, 9], 90.0, true, true));
        assert!(!passes(&[5, 8], 90.0, true, true) && !passes(&[5, 8], 90.0, true, false));
        assert!(passes(&[5, 8], 90.0, false, true), "ids stay sealed; their number does not");
        assert!(!passes(&[5, 8, 9], 90.0, false, false));
    }

    #[test]
    fn figures_are_compared_bit_by_bit_on_the_same_kind_of_machine_alone() {
        let next = f64::from_bits(90.0_f64.to_bits() + 1);
        assert!(!passes(&[5, 9], next, true, true) && passes(&[5, 9], next, true, false));
    }
}
