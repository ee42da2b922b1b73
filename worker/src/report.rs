//! From committed rounds to the report: every step's result measured on data that no choice has read.

use std::collections::BTreeMap;

use rewind_artifacts::{Shard, read_weights, write_weights};
use rewind_evaluation::{fill_gaps, membership_inference, recovered};
use rewind_job::{
    Action, Assignment, BackdoorSuccess, CurvePoint, Digest, Evaluate, Figure, Forget, Judgement, Manifest, Measured,
    MeasuredOn, REPORT_FORMAT, Reader, Report, Round, RoundRecord, Scores, Specification, Step, StepIndex, StepStop,
    StepWeights, Unlearn, WorkerEvent, judge,
};
use rewind_models::Network;
use rewind_unlearning::{
    Gang, Judged, LabelledSamples, Ledger, Predictions, accuracy, load_weights, measure_weights, predictions,
};

use crate::{
    loss_attack::attack_losses,
    machine,
    pictures::{activation_maps, landscape},
    probes::probe,
    run::Run,
    run_error::RunError,
    sample_record::Notes,
};

/// Below this balanced accuracy (percent) the attack does not tell members from others.
const ATTACK_SAYS_SOMETHING: f64 = 55.0;

/// Measures every step's result; rank 0 stores the weights and sends the report.
pub fn make_and_send(run: &Run, mut gang: Gang) -> Result<(), RunError> {
    let specification = &run.assignment.specification;
    let network = run.network();
    let evaluated = evaluated_steps(specification);
    let (mut all, mut stops, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    let parts = run.data.parts();
    let (mut ledger, mut notes) = (Ledger::new(&parts), Notes::default());
    let landscape = landscape::measure(run, &mut gang, &network)?;
    let pictured = landscape::pictured(specification);
    ledger.put_down_to(Reader::Evaluation);
    let of_landscape = ledger.close(&mut gang)?;
    for (index, step) in specification.steps.iter().enumerate() {
        if matches!(step.action, Action::Evaluate(_)) {
            continue;
        }
        let index = StepIndex(index as u32);
        let result = run.result_of(index)?;
        let written = write_result(&gang, step, &result)?;
        let digest = match run.assignment.rank.0 {
            0 => run.artifacts.put(&written)?,
            _ => rewind_artifacts::digest_of(&written),
        };
        let evaluate = evaluated.get(step.name.as_str()).copied();
        let read = evaluate.map(|evaluate| evaluate.read);
        let mut measured = measure(run, &mut gang, &network, index, read, &result, digest.clone())?;
        if let Action::Unlearn(unlearn) = &step.action {
            measured.judgement = Some(judge_step(run, &mut gang, &network, (index, unlearn), &written)?);
        }
        if let Some(evaluate) = evaluate {
            gang = probe(run, gang, &network, evaluate, (index, &result), &mut measured)?;
        }
        all.push((step, measured));
        ledger.put_down_to(Reader::Evaluation);
        let mut reads = ledger.close(&mut gang)?;
        if pictured.contains(&index) {
            reads.extend(of_landscape.iter().cloned());
        }
        notes.add(&step.name, &run.manifests_of(index), &reads);
        weights.push(StepWeights { step: step.name.clone(), weights: digest });
        if let (Action::Unlearn(_), Some(last)) = (&step.action, run.manifests_of(index).last())
            && let Some(outcome) = &last.outcome
        {
            stops.push(StepStop {
                name: step.name.clone(),
                rule: outcome.stop.rule.clone(),
                text: outcome.stop.text.clone(),
                selected: outcome.selected,
                rounds: last.round,
            });
        }
    }
    if run.assignment.rank.0 == 0 {
        let mut report = assemble_report(run, all, stops)?;
        report.landscape = landscape;
        report.activation = activation_maps::measure(run, &network)?;
        report.samples = store_notes(run, notes)?;
        let verdict = report.verdict();
        let report = serde_json::to_vec(&report).expect("a report is made of structures, strings and finite numbers");
        let report = run.artifacts.put(&report)?;
        let Assignment { job, generation, .. } = &run.assignment;
        run.link.tell(WorkerEvent::Finished { job: job.clone(), generation: *generation, report, weights, verdict });
    }
    Ok(())
}

/// Stores the record of samples, if there is one.
fn store_notes(run: &Run, notes: Notes) -> Result<Option<Digest>, RunError> {
    let Some(record) = notes.into_record(&run.data.ids, &run.data.forget_digests) else {
        tracing::warn!("some rounds took no note of what they read: there will be no certificate");
        return Ok(None);
    };
    let record = serde_json::to_vec(&record).expect("a record is made of words and numbers");
    Ok(Some(run.artifacts.put(&record)?))
}

/// The names of the steps that are measured, and how; the last evaluation of a step counts.
fn evaluated_steps(specification: &Specification) -> BTreeMap<&str, &Evaluate> {
    let mut names = BTreeMap::new();
    for (index, step) in specification.steps.iter().enumerate() {
        if let Action::Evaluate(evaluate) = &step.action {
            match &evaluate.of {
                Some(of) => names.extend(of.iter().map(|name| (name.as_str(), evaluate))),
                None => names.extend(specification.steps[..index].iter().map(|step| (step.name.as_str(), evaluate))),
            }
        }
    }
    names
}

/// A step's weights as they are handed out.
fn write_result(gang: &Gang, step: &Step, result: &Shard) -> Result<Vec<u8>, RunError> {
    let metadata = BTreeMap::from([("step".to_owned(), step.name.clone())]);
    Ok(write_weights(gang.layout(), &result.weights, &result.buffers, &metadata)?)
}

/// Judges an unlearning step by the very bytes that are handed out, beside the weights that it began with.
fn judge_step(
    run: &Run,
    gang: &mut Gang,
    network: &Network,
    (index, unlearn): (StepIndex, &Unlearn),
    written: &[u8],
) -> Result<Judgement, RunError> {
    let data = &run.data;
    let judged = Judged {
        forget: &data.forget,
        validation: data.validation.as_ref(),
        unseen: data.class_apart.validation.as_ref(),
    };
    let mut measure = |whole: &Shard| -> Result<Scores, RunError> {
        load_weights(network, whole);
        let (mut scores, _) = judged.measure(network, gang)?;
        scores.extend(measure_weights(whole));
        Ok(scores)
    };
    let before = measure(&run.start_of(unlearn)?)?;
    let (weights, buffers) = read_weights(written, network.layout())?;
    let mut after = measure(&Shard { weights, buffers, ..Shard::default() })?;
    let last = run.manifests_of(index).pop();
    after.set(Figure::TRAINING_LOSS, last.map(|manifest| manifest.record.loss.number().unwrap_or(f64::NAN)));
    Ok(judge(&unlearn.stop, &unlearn.damage, &before, &after))
}

fn measure(
    run: &Run,
    gang: &mut Gang,
    network: &Network,
    index: StepIndex,
    read: Option<MeasuredOn>,
    result: &Shard,
    weights: Digest,
) -> Result<Measured, RunError> {
    let step = &run.assignment.specification.steps[index.0 as usize];
    let manifests = run.manifests_of(index);
    let last = manifests.last();
    let (method, group) = match &step.action {
        Action::Pretrain(_) => ("pretrain", "retain-using"),
        Action::Retrain(_) => ("retrain", "retain-using"),
        Action::Unlearn(unlearn) => (unlearn.method.name(), unlearn.method.group().name()),
        Action::Given(_) => ("given", "reference"),
        Action::Evaluate(_) | Action::Collect(_) | Action::TrainPredictor(_) => unreachable!("they make no weights"),
    };
    let mut measured = Measured {
        name: step.name.clone(),
        method: method.into(),
        group: group.into(),
        seconds: last.map_or(0.0, |last| last.record.seconds),
        forget_epochs: last.map_or(0.0, |last| last.record.forget_epochs),
        bytes_moved: last.map_or(0, |last| last.record.bytes_moved),
        selected: last.map_or(Round(0), |last| last.outcome.as_ref().map_or(last.round, |outcome| outcome.selected)),
        weights,
        rounds: manifests.iter().map(shown).collect(),
        ..Measured::default()
    };
    let Some(read) = read else {
        return Ok(measured);
    };
    load_weights(network, result);
    let data = &run.data;
    let mut answers = |samples: Option<&_>| -> Result<Option<Predictions>, RunError> {
        Ok(samples.map(|samples| predictions(network, gang, samples)).transpose()?)
    };
    let forget = answers(Some(&data.forget))?.expect("there is always forget data");
    let remaining = answers(data.remaining.as_ref())?;
    let test_data = data.test.as_ref().filter(|_| read == MeasuredOn::Test);
    let test = answers(test_data)?;
    measured.va = answers(data.validation.as_ref())?.as_ref().map(Predictions::accuracy);
    let attack = answers(data.attack.as_ref())?;
    measured.clean = answers(data.forget_truth.as_ref())?.as_ref().map(Predictions::accuracy);
    measured.ua = Some(100.0 - forget.accuracy());
    measured.forget_loss = Some(forget.loss());
    measured.test_loss = test.as_ref().map(Predictions::loss);
    measured.ra = remaining.as_ref().map(Predictions::accuracy);
    measured.ta = test.as_ref().map(Predictions::accuracy);
    if let (Some(members), Some(others)) = (&remaining, &attack)
        && !others.probability.is_empty()
    {
        // As many members as non-members, drawn: the samples are sorted as their file was, often by class.
        let seed = run.assignment.specification.seed;
        let members: Vec<f64> = rewind_datasets::order(seed, "attack-members", 0, members.probability.len())
            .into_iter()
            .take(others.probability.len())
            .map(|position| members.probability[position as usize])
            .collect();
        match membership_inference(&members, &others.probability, &forget.probability) {
            Ok(attack) => {
                measured.mia = Some(attack.non_member_share);
                measured.mia_attack_accuracy = Some(attack.balanced_accuracy);
            }
            // The other figures stand without it.
            Err(error) => tracing::warn!("{}: no membership attack: {error}", step.name),
        }
    }
    let class_test = data.class_apart.test.as_ref().filter(|_| read == MeasuredOn::Test);
    let triggered = data.triggered.as_ref().filter(|_| read == MeasuredOn::Test);
    measured.forgotten_class_accuracy = answers(class_test)?.as_ref().map(Predictions::accuracy);
    if matches!(run.assignment.specification.data.forget, Forget::Backdoor(_)) {
        let held_out = answers(triggered)?.as_ref().map(Predictions::accuracy);
        measured.backdoor = Some(BackdoorSuccess { forget: forget.accuracy(), held_out });
    }
    // Samples of the classes of D_f: where one is forgotten whole, they lie apart.
    let (unseen, unseen_answers) = match &data.class_apart.attack {
        Some(of_class) => (Some(of_class), answers(Some(of_class))?),
        None => (data.attack.as_ref(), attack),
    };
    if let (Some(unseen), Some(unseen_answers)) = (unseen.filter(|unseen| !unseen.is_empty()), unseen_answers) {
        let seed = run.assignment.specification.seed;
        let found = attack_losses(seed, (&data.forget, &forget), (unseen, &unseen_answers))?;
        if let Some(reason) = &found.reason {
            tracing::warn!("{}: no attack on losses: {reason}", step.name);
        }
        measured.loss_attack = Some(found);
    }
    if let Action::Unlearn(unlearn) = &step.action {
        let mut point = |round: Round, state: &Shard| -> Result<(), RunError> {
            load_weights(network, state);
            let forget = predictions(network, gang, &data.forget)?;
            let test = test_data.map(|test| predictions(network, gang, test)).transpose()?;
            let mut of =
                |samples: Option<&LabelledSamples>| samples.map(|samples| accuracy(network, gang, samples)).transpose();
            measured.curve.push(CurvePoint {
                round,
                forget_accuracy: forget.accuracy(),
                clean_accuracy: of(data.forget_truth.as_ref())?,
                test_accuracy: test.as_ref().map(Predictions::accuracy),
                forgotten_class_accuracy: of(class_test)?,
                backdoor_held_out: of(triggered)?,
                forget_loss: Some(forget.loss()),
                test_loss: test.as_ref().map(Predictions::loss),
            });
            Ok(())
        };
        point(Round(0), &run.start_of(unlearn)?)?;
        for manifest in &manifests {
            point(manifest.round, &run.load(manifest)?)?;
        }
    }
    Ok(measured)
}

/// A round as the report has it: what all rounds read together is in the record of samples.
fn shown(manifest: &Manifest) -> RoundRecord {
    RoundRecord { reads: Vec::new(), ..manifest.record.clone() }
}

fn assemble_report(run: &Run, all: Vec<(&Step, Measured)>, stop: Vec<StepStop>) -> Result<Report, RunError> {
    let specification = &run.assignment.specification;
    let (mut pretrained, mut retrain, mut methods) = (None, None, Vec::new());
    for (step, measured) in all {
        match &step.action {
            Action::Pretrain(_) => pretrained = Some(measured),
            Action::Retrain(_) => retrain = Some(measured),
            _ => methods.push(measured),
        }
    }
    let mut report = Report {
        format: REPORT_FORMAT,
        version: rewind_version::VERSION.into(),
        commit: Some(rewind_version::COMMIT.into()),
        job: run.assignment.job.0.clone(),
        world_size: run.assignment.world_size,
        specification: specification.clone(),
        data: run.data.summary.clone(),
        machine: machine::describe(specification.fleet.threads, &run.device_name),
        pretrained,
        retrain,
        methods,
        stop,
        recovered: Vec::new(),
        events: Vec::new(),
        warnings: Vec::new(),
        predictor: None,
        activation: None,
        landscape: None,
        samples: None,
        search: crate::inputs::search_log(specification)?,
    };
    fill_gaps(&mut report);
    report.recovered = recovered(&report);
    report.warnings = warnings(&report);
    report.warnings.extend(run.assignment.warnings.iter().cloned());
    for (index, step) in specification.steps.iter().enumerate() {
        let last = run.manifests_of(StepIndex(index as u32)).pop();
        if let Some(stop) = last.and_then(|manifest| manifest.outcome).map(|outcome| outcome.stop)
            && stop.rule == "diverged"
        {
            report.warnings.push(format!("{} diverged: {}.", step.name, stop.text));
        }
    }
    Ok(report)
}

fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = vec![
        "One training seed and one unlearning seed: differences of about a point of accuracy between methods are noise."
            .to_owned(),
    ];
    let weak: Vec<&str> = report
        .measured()
        .filter(|m| m.mia_attack_accuracy.is_some_and(|accuracy| accuracy < ATTACK_SAYS_SOMETHING))
        .map(|m| m.name.as_str())
        .collect();
    if !weak.is_empty() {
        warnings.push(format!(
            "The membership attack (SVC, confidence) hardly tells members from others for {}: its figures (MIA) say little \
             there.",
            weak.join(", ")
        ));
    }
    if report.retrain.is_none() {
        warnings.push("There is no retrained reference: gaps to it are unknown.".into());
    }
    warnings
}
