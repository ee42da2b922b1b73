//! `rewind predictor evaluate`: is a predictor better than what is simpler, on families that it has never seen?

mod histories;
mod unlearning;

use std::path::{Path, PathBuf};

use rewind_comparison::predictors::{Evaluation, Trained, check_protocol};
use rewind_job::{PredictorReport, Report, Specification, TrainPredictor};

use rewind_client::Client;

use crate::{
    arguments::EvaluatePredictor,
    commands::{runs::Runs, submit::folder_of},
    error::Error,
    output,
    screen::Screen,
};

/// What is measured, and how.
struct Plan {
    specification: Specification,
    protocols: Vec<(PathBuf, Specification)>,
    arguments: EvaluatePredictor,
}

pub async fn run(arguments: EvaluatePredictor) -> Result<(), Error> {
    let screen = Screen::new();
    let plan = Plan::read(arguments)?;
    let mut client = Client::connect(&plan.arguments.at.address()).await?;
    let runs = Runs { fresh: plan.arguments.fresh, screen: &screen };

    screen.say(&format!("training with {} seeds", plan.arguments.seeds.len()));
    let mut trained = Vec::new();
    let jobs = runs.submit(&mut client, plan.arguments.seeds.iter().map(|&seed| plan.seeded(seed))).await?;
    for (&seed, job) in plan.arguments.seeds.iter().zip(&jobs) {
        let (report, mut made) = runs.result(&mut client, job).await?;
        let weights = made.pop().ok_or_else(|| Error::Refused(format!("{job} has left no predictor")))?.weights;
        trained.push(Trained { seed, report: predictor_of(report)?, weights });
    }
    let families = plan.families(&trained[0].report);
    let (errors, reports) = histories::measure(&mut client, &runs, &plan, &families).await?;
    let unlearning = unlearning::measure(&mut client, &runs, &plan, &trained).await?;
    let evaluation = Evaluation {
        name: plan.specification.name.clone(),
        architecture: plan.wanted().architecture.name(),
        direction: plan.wanted().direction,
        seeds: plan.arguments.seeds.len(),
        protocols: plan.protocols.iter().map(|(_, protocol)| protocol.name.clone()).collect(),
        families,
        errors,
        unlearning,
        reports,
    };
    let out = &plan.arguments.out;
    write(&evaluation, out)?;
    if plan.arguments.json {
        output::json(&serde_json::json!({ "errors": evaluation.errors, "unlearning": evaluation.unlearning }));
    } else {
        output::line(histories::table(&evaluation));
        if !evaluation.unlearning.is_empty() {
            output::line(unlearning::table(&evaluation));
        }
        output::line(out.join("evaluation.html").display());
    }
    Ok(())
}

fn write(evaluation: &Evaluation, out: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let page = rewind_page::draw_evaluation(evaluation, rewind_version::VERSION_AND_COMMIT);
    let mut files = vec![("evaluation.json", json(&evaluation.errors)), ("evaluation.html", page)];
    if !evaluation.unlearning.is_empty() {
        files.push(("unlearning.json", json(&evaluation.unlearning)));
    }
    for (name, text) in files {
        let file = out.join(name);
        std::fs::write(&file, text).map_err(Error::file("write", file))?;
    }
    Ok(())
}

/// Rows as a list, one row a line, so that differences between two evaluations can be read.
fn json<T: serde::Serialize>(rows: &[T]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap_or_default()).collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

fn predictor_of(report: Report) -> Result<PredictorReport, Error> {
    let job = report.job;
    report.predictor.ok_or_else(|| Error::Refused(format!("{job} says nothing of a predictor")))
}

impl Plan {
    fn read(arguments: EvaluatePredictor) -> Result<Self, Error> {
        let specification = parse(&arguments.specification)?;
        let plan = Self {
            protocols: arguments
                .unlearn
                .iter()
                .map(|file| Ok((file.clone(), parse(file)?)))
                .collect::<Result<_, Error>>()?,
            specification,
            arguments,
        };
        if plan.specification.train_predictor().is_none() {
            let file = plan.arguments.specification.display();
            return Err(Error::Specification(format!("{file}: step: none of them is a train-predictor")));
        }
        if plan.arguments.seeds.is_empty() {
            return Err(Error::Usage("--seeds needs at least one".into()));
        }
        for family in &plan.arguments.families {
            plan.arguments.leave_out.held_out(family)?;
        }
        if !plan.arguments.factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
            return Err(Error::Usage("--factors must be greater than 0 each".into()));
        }
        for (file, protocol) in &plan.protocols {
            check_protocol(plan.wanted(), protocol)
                .map_err(|problem| Error::Specification(format!("{}: {problem}", file.display())))?;
        }
        Ok(plan)
    }

    /// What the specification trains.
    fn wanted(&self) -> &TrainPredictor {
        self.specification.train_predictor().expect("checked when it was read").1
    }

    fn seeded(&self, seed: u64) -> Specification {
        Specification { seed, ..self.specification.clone() }
    }

    /// What is left out, one after another: what the histories were made of, or what the user named.
    fn families(&self, report: &PredictorReport) -> Vec<String> {
        match self.arguments.families.is_empty() {
            true => self.arguments.leave_out.of(&report.families).iter().cloned().collect(),
            false => self.arguments.families.clone(),
        }
    }
}

fn parse(file: &Path) -> Result<Specification, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::file("read", file))?;
    let folder = folder_of(file).map_err(Error::file("read", file))?;
    let refused = |error| Error::Specification(format!("{}: {error}", file.display()));
    Specification::parse(&text, &folder).map_err(refused)
}
