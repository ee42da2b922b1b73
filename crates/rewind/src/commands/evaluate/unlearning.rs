//! Quality of unlearning: the predictor and the Task Vectors fitted on the same histories, each with the same tries.

use rewind_comparison::{
    Interval,
    predictors::{Evaluation, Trained, UnlearningRow, expand_protocol, scale_factors, unlearning_rows},
};

use super::{Plan, Runs};
use rewind_client::Client;

use crate::{error::Error, output};

pub(super) async fn measure(
    client: &mut Client,
    runs: &Runs<'_>,
    plan: &Plan,
    trained: &[Trained],
) -> Result<Vec<UnlearningRow>, Error> {
    let mut rows = Vec::new();
    for (file, protocol) in &plan.protocols {
        runs.screen.say(&format!("unlearning: {}", protocol.name));
        let factors = scale_factors(protocol, &plan.arguments.factors);
        let specification =
            |of: &Trained| expand_protocol(protocol, of, &factors).map_err(|problem| refused(file.display(), &problem));
        let specifications = trained.iter().map(specification).collect::<Result<Vec<_>, _>>()?;
        let jobs = runs.submit(client, specifications.into_iter()).await?;
        let mut reports = Vec::new();
        for job in &jobs {
            reports.push(runs.result(client, job).await?.0);
        }
        rows.extend(unlearning_rows(protocol, plan.wanted().architecture.name(), &factors, &reports));
    }
    Ok(rows)
}

fn refused(file: impl std::fmt::Display, problem: &str) -> Error {
    Error::Specification(format!("{file}: {problem}"))
}

/// The chosen factors, one line a method.
pub(super) fn table(evaluation: &Evaluation) -> String {
    let head = ["", "factor", "reached", "test", "±", "forget data", "true labels", "test, over best λ", "±"];
    let mut text = String::new();
    for protocol in &evaluation.protocols {
        let mut table = vec![head.map(str::to_owned).to_vec()];
        let rows = evaluation.unlearning.iter().filter(|row| row.protocol == *protocol);
        for row in rows.filter(|row| row.chosen || row.factor.is_none()) {
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
            let mean = |interval: Option<Interval>| number(interval.map(|interval| interval.mean));
            let half = |interval: Option<Interval>| number(interval.and_then(|interval| interval.half()));
            table.push(vec![
                row.method.clone(),
                row.factor.map_or("-".to_owned(), |factor| factor.to_string()),
                row.reached.map_or("-".to_owned(), |reached| format!("{reached} of {}", row.seeds)),
                mean(row.test_accuracy),
                half(row.test_accuracy),
                mean(row.forget_accuracy),
                mean(row.clean_accuracy),
                mean(row.over_best_task_vector),
                half(row.over_best_task_vector),
            ]);
        }
        text += &format!("\n{}, accuracies in percent:\n{}\n", protocol, output::table(&table));
    }
    text
}
