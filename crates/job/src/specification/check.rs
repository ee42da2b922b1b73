//! Reading a specification, and refusing a bad one by the field's name.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub(super) use super::check_training::check_optimiser;
use super::{
    Action, Collect, Evaluate, Forget, GoalRule, Group, HistoryData, Objective, Source, Specification, Step, Stop,
    Unlearn, check_training::check_training, format::AsWritten,
};
use crate::{LONGEST_STEP_NAME, file_name, shortened};

/// Why a specification is refused: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecificationError {
    pub field: String,
    pub problem: String,
}

impl SpecificationError {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: shortened(field.into()), problem: shortened(problem.into()) }
    }
}

impl Specification {
    /// Reads and checks a specification. Relative paths are taken from `folder`.
    ///
    /// # Errors
    /// Names the field and what is wrong with it. Files are not opened here.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, SpecificationError> {
        Self::parse_telling(text, folder).map(|(specification, _)| specification)
    }

    /// As [`Self::parse`]; with a sentence for each word of an older format that is called otherwise now.
    ///
    /// # Errors
    /// As there.
    pub fn parse_telling(text: &str, folder: &Path) -> Result<(Self, Vec<String>), SpecificationError> {
        let document = toml::Deserializer::parse(text)
            .map_err(|error| SpecificationError::new("specification", error.to_string().trim().to_owned()))?;
        let table = toml::from_str::<toml::Table>(text);
        let AsWritten(mut specification) = serde_path_to_error::deserialize(document).map_err(|error| {
            let field = error.path().to_string();
            SpecificationError::new(
                if field == "." { "specification".to_owned() } else { field },
                error.into_inner().message().to_owned(),
            )
        })?;
        let renamed = specification.upgrade()?;
        let makes_its_own = specification.collect().is_some_and(|collect| !collect.architectures.is_empty())
            || specification.train_predictor().is_some();
        let is_there = |field| makes_its_own || table.as_ref().is_ok_and(|table| table.contains_key(field));
        require(is_there("model"), "model", "is missing")?;
        require(is_there("data"), "data", "is missing")?;
        specification.for_each_path(|_, path| *path = folder.join(&*path));
        specification.check()?;
        Ok((specification, renamed))
    }

    /// The specification as TOML; [`Self::parse`] reads it back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a specification is made of tables, strings and numbers")
    }

    /// Every file the specification names, with the field that names it; of a folder, the files that must lie in it.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        let folder = self.data.pool.as_ref().and_then(|pool| Some((pool.folder()?.0, pool.files_in_folder())));
        self.clone().for_each_path(|field, path| match folder {
            Some((of_folder, names)) if of_folder == field => {
                files.extend(names.iter().map(|name| (field.to_owned(), path.join(name))));
            }
            _ => files.push((field.to_owned(), path.clone())),
        });
        files
    }

    fn for_each_path(&mut self, mut visit: impl FnMut(&str, &mut PathBuf)) {
        if let Some(Source::File(path)) = &mut self.model.weights {
            visit("model.weights", path);
        }
        if let Some(pool) = &mut self.data.pool {
            pool.for_each_path(&mut visit);
        }
        if let Forget::Files(files) = &mut self.data.forget {
            visit("data.forget.files.images", &mut files.images);
            visit("data.forget.files.labels", &mut files.labels);
        }
        for (index, step) in self.steps.iter_mut().enumerate() {
            if let Action::Given(super::Given { weights: Source::File(path) }) = &mut step.action {
                visit(&format!("step[{index}].given.weights"), path);
            }
            let field = step.start().map(|(field, _)| format!("step[{index}].{field}"));
            if let (Some(field), Some(super::Start { weights: Source::File(path), .. })) = (field, step.start_mut()) {
                visit(&field, path);
            }
            if let Action::Collect(collect) = &mut step.action {
                for (place, data) in collect.data.iter_mut().enumerate() {
                    if let HistoryData::Files(files) = data {
                        let field = format!("step[{index}].collect.data[{place}].files");
                        visit(&format!("{field}.images"), &mut files.images);
                        visit(&format!("{field}.labels"), &mut files.labels);
                    }
                }
            }
            let field = step.predictor().map(|wanted| format!("step[{index}].{}", wanted.field));
            if let (Some(field), Some(Source::File(path))) = (field, step.predictor_mut()) {
                visit(&field, path);
            }
        }
        if let Some(path) = &mut self.search_log {
            visit("search-log", path);
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// The first one found.
    pub fn check(&self) -> Result<(), SpecificationError> {
        require(!self.name.trim().is_empty(), "name", "must not be empty")?;
        require((1..=4096).contains(&self.fleet.world_size.0), "fleet.world-size", "must be from 1 to 4096")?;
        require(
            (1..=self.fleet.world_size.0).contains(&self.fleet.fewest().0),
            "fleet.at-least",
            "must be from 1 to fleet.world-size",
        )?;
        require((1..=1000).contains(&self.checkpoints.keep), "checkpoints.keep", "must be from 1 to 1000")?;
        require(self.deadline.is_none_or(|deadline| !deadline.is_zero()), "deadline", "must be longer than 0s")?;
        require((1..=1024).contains(&self.fleet.threads), "fleet.threads", "must be from 1 to 1024")?;
        require((2..=256).contains(&self.model.classes), "model.classes", "must be from 2 to 256: labels are bytes")?;
        require(matches!(self.model.image[0], 1 | 3), "model.image", "must have 1 or 3 channels")?;
        require(
            self.model.image[1..].iter().all(|side| (8..=1024).contains(side)),
            "model.image",
            "height and width must be from 8 to 1024",
        )?;
        Objective::Classification.check_architecture(self.model.architecture, "model.architecture")?;
        self.check_normalise()?;
        self.model.initialisation.check("model.initialisation")?;
        require(
            self.model.resize.is_none_or(|side| (8..=1024).contains(&side)),
            "model.resize",
            "must be from 8 to 1024",
        )?;
        self.check_data()?;
        require(!self.steps.is_empty(), "step", "at least one step is needed")?;
        let (mut earlier, mut files) = (BTreeSet::new(), BTreeMap::new());
        let (mut pretrained, mut retrained) = (false, false);
        for (index, step) in self.steps.iter().enumerate() {
            let at = |field: &str| format!("step[{index}].{field}");
            require(!step.name.trim().is_empty(), at("name"), "must not be empty")?;
            require(
                !earlier.contains(step.name.as_str()),
                at("name"),
                format!("`{}` is the name of an earlier step", step.name),
            )?;
            let longest = LONGEST_STEP_NAME;
            require(step.name.len() <= longest, at("name"), format!("must have at most {longest} bytes"))?;
            // Not all file systems tell capitals from small letters.
            if let Some(other) = files.insert(file_name(&step.name).to_lowercase(), &step.name) {
                let problem = format!("`{}` would be the same file as `{other}`: choose another", step.name);
                return Err(SpecificationError::new(at("name"), problem));
            }
            match &step.action {
                Action::Pretrain(training) => {
                    require(self.data.pool.is_some(), at("pretrain"), "needs data.pool")?;
                    require(!std::mem::replace(&mut pretrained, true), at("pretrain"), "there is one already")?;
                    self.check_augment(training.augment, &at("pretrain.augment"))?;
                    check_training(training, &at("pretrain"))?;
                }
                Action::Retrain(training) => {
                    require(self.data.pool.is_some(), at("retrain"), "needs data.pool")?;
                    require(!std::mem::replace(&mut retrained, true), at("retrain"), "there is one already")?;
                    require(
                        self.data.forget.leaves_some(),
                        at("retrain"),
                        "needs forget data that is a part of data.pool, and not all of it",
                    )?;
                    self.check_augment(training.augment, &at("retrain.augment"))?;
                    check_training(training, &at("retrain"))?;
                }
                Action::Unlearn(unlearn) => self.check_unlearn(unlearn, &earlier, &at("unlearn"))?,
                Action::Given(_) => {}
                Action::Evaluate(evaluate) => {
                    evaluate.check(&at("evaluate"))?;
                    self.check_evaluate(evaluate, &earlier, &at("evaluate"))?;
                    for name in evaluate.of.iter().flatten() {
                        require(
                            earlier.contains(name.as_str()),
                            at("evaluate.of"),
                            format!("`{name}` is not the name of an earlier step that makes weights"),
                        )?;
                    }
                    continue;
                }
                Action::Collect(collect) => {
                    require(self.steps.len() == 1, at("collect"), "must be the job's only step")?;
                    self.check_collect(collect, &at("collect"))?;
                }
                Action::TrainPredictor(predictor) => {
                    require(self.steps.len() == 1, at("train-predictor"), "must be the job's only step")?;
                    predictor.check(&at("train-predictor"))?;
                }
            }
            earlier.insert(step.name.as_str());
        }
        Ok(())
    }

    fn check_normalise(&self) -> Result<(), SpecificationError> {
        let Some(normalise) = &self.model.normalise else { return Ok(()) };
        for (name, values) in [("mean", &normalise.mean), ("std", &normalise.std)] {
            let one_each = values.len() == self.model.image[0] as usize;
            require(one_each, format!("model.normalise.{name}"), "must have one number a channel")?;
        }
        normalise.mean.iter().try_for_each(|&mean| check_finite(mean, "model.normalise.mean".into()))?;
        normalise.std.iter().try_for_each(|&std| check_positive(std, "model.normalise.std".into()))
    }

    fn check_data(&self) -> Result<(), SpecificationError> {
        require(
            self.data.pool.is_some() == self.data.split.is_some(),
            "data.split",
            "data.pool and data.split go together",
        )?;
        if let Some(split) = &self.data.split {
            require(split.train > 0, "data.split.train", "must be at least 1")?;
            require(split.validation > 0, "data.split.validation", "must be at least 1")?;
            require(split.test > 0, "data.split.test", "must be at least 1")?;
            require(
                split.attack == 0 || split.attack >= 4,
                "data.split.attack",
                "must be 0 (no membership attack), or at least 4",
            )?;
        }
        match &self.data.forget {
            Forget::LabelNoise { share, .. } => check_share(*share, "data.forget.label-noise.share")?,
            Forget::Backdoor(backdoor) => {
                check_share(backdoor.share, "data.forget.backdoor.share")?;
                let is_class = backdoor.label < self.model.classes;
                require(is_class, "data.forget.backdoor.label", "must be less than model.classes")?;
                let fits = (1..self.model.image[2]).contains(&backdoor.width);
                require(fits, "data.forget.backdoor.width", "must be at least 1, and less than the image's width")?;
            }
            Forget::Random { share, .. } => check_share(*share, "data.forget.random.share")?,
            Forget::Class(class) => {
                require(
                    class.label < self.model.classes,
                    "data.forget.class.label",
                    "must be less than model.classes",
                )?;
            }
            Forget::Everything => {}
            Forget::Files(_) => return Ok(()),
            Forget::Nothing => {
                let forgets = |step: &Step| !matches!(step.action, Action::Collect(_) | Action::TrainPredictor(_));
                let field = "data.forget";
                return require(!self.steps.iter().any(forgets), field, "is missing: what is to be forgotten?");
            }
        }
        require(self.data.pool.is_some(), "data.forget", "needs data.pool, or forget data in files of its own")
    }

    fn check_unlearn(&self, unlearn: &Unlearn, earlier: &BTreeSet<&str>, at: &str) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{field}");
        match &unlearn.from {
            Some(name) => require(
                earlier.contains(name.as_str()),
                at("from"),
                format!("`{name}` is not the name of an earlier step that makes weights"),
            )?,
            None => require(
                self.model.weights.is_some(),
                at("from"),
                "name an earlier step, or give trained weights in model.weights",
            )?,
        }
        check_optimiser(&unlearn.forward.optimiser, &at("forward.optimiser"))?;
        self.check_augment(unlearn.forward.augment, &at("forward.augment"))?;
        require(unlearn.forward.batch_size > 0, at("forward.batch-size"), "must be at least 1")?;
        unlearn.method.check(&at("method"))?;
        unlearn.forward.check_schedule(&unlearn.method, &at("forward"))?;
        if unlearn.method.group() == Group::RetainUsing {
            let has_remaining = self.data.pool.is_some() && self.data.forget.leaves_some();
            let field = at(&format!("method.{}", unlearn.method.name()));
            require(
                has_remaining,
                field,
                "reads the remaining data: it needs data.pool, and forget data that is a part of it, and not all of it",
            )?;
        }
        require(unlearn.stop.rounds > 0, at("stop.rounds"), "must be at least 1")?;
        self.check_stop(&unlearn.stop, &at("stop"))?;
        self.check_roll_back(unlearn, at("roll-back"))
    }

    fn check_evaluate(
        &self,
        evaluate: &Evaluate,
        earlier: &BTreeSet<&str>,
        at: &str,
    ) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{field}");
        let has_remaining = self.data.pool.is_some() && self.data.forget.leaves_some();
        require(
            evaluate.relearning.is_none() || has_remaining,
            at("relearning"),
            "trains on the remaining data: it needs data.pool, and forget data that is a part of it, and not all of it",
        )?;
        if let Some(line) = &evaluate.line {
            require(
                earlier.contains(line.from.as_str()),
                at("line.from"),
                format!("`{}` is not the name of an earlier step that makes weights", line.from),
            )?;
        }
        let architecture = self.model.architecture;
        require(
            evaluate.activation_maps.is_none() || architecture.has_maps(),
            at("activation-maps"),
            format!("`{}` has no convolution whose map could be drawn", architecture.name()),
        )?;
        let is_read = |name: &str| evaluate.of.as_ref().is_none_or(|of| of.iter().any(|read| read == name));
        let unlearns = self.steps.iter().any(|step| {
            let name = step.name.as_str();
            matches!(step.action, Action::Unlearn(_)) && earlier.contains(name) && is_read(name)
        });
        require(
            evaluate.landscape.is_none() || unlearns,
            at("landscape"),
            "needs an earlier step that unlearns, among those that are evaluated",
        )
    }

    fn check_stop(&self, stop: &Stop, at: &str) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{field}");
        for (name, value, most, problem) in [
            ("ua-at-least", stop.ua_at_least, 100.0, "must be a percentage"),
            ("forget-accuracy-at-most", stop.forget_accuracy_at_most, 100.0, "must be a percentage"),
            ("utility-budget", stop.utility_budget, 100.0, "must be from 0 to 100 points"),
            ("like-unseen", stop.like_unseen, 1.0, "must be a probability"),
            ("membership-auc-at-most", stop.membership_auc_at_most, 1.0, "must be from 0 to 1"),
        ] {
            require(value.is_none_or(|value| (0.0..=most).contains(&value)), at(name), problem)?;
        }
        let goals = stop.goals().map(|goal| goal.rule).filter(|rule| rule.needs_unseen()).map(GoalRule::name);
        let budget = stop.utility_budget.map(|_| "utility-budget");
        for name in goals.chain(budget) {
            require(self.data.split.is_some(), at(name), "needs validation data (data.split)")?;
        }
        require(stop.wall_time.is_none_or(|limit| !limit.is_zero()), at("wall-time"), "must be longer than 0s")?;
        require(stop.bisections <= 30, at("bisections"), "must be at most 30")?;
        let has_aim = stop.bisections == 0 || stop.wanted_ua().is_some();
        require(has_aim, at("bisections"), "needs ua-at-least or forget-accuracy-at-most")
    }

    fn check_collect(&self, collect: &Collect, at: &str) -> Result<(), SpecificationError> {
        let reads_pool = collect.data.contains(&HistoryData::Pool);
        let field = "data.pool";
        require(!reads_pool || self.data.pool.is_some(), field, "is needed: histories are made of its training part")?;
        let field = "data.forget";
        require(!matches!(self.data.forget, Forget::Files(_)), field, "must be a part of data.pool")?;
        require(self.fleet.world_size.0 == 1, "fleet.world-size", "must be 1: each task runs on one worker")?;
        collect.check(at)
    }

    /// The index of the step with this name.
    pub fn step_named(&self, name: &str) -> Option<crate::StepIndex> {
        self.steps.iter().position(|step| step.name == name).map(|index| crate::StepIndex(index as u32))
    }
}

pub(super) fn require(
    holds: bool,
    field: impl Into<String>,
    problem: impl Into<String>,
) -> Result<(), SpecificationError> {
    if holds { Ok(()) } else { Err(SpecificationError::new(field, problem)) }
}

pub(super) fn check_share(share: f64, field: &str) -> Result<(), SpecificationError> {
    require(share > 0.0 && share < 1.0, field, "must be between 0 and 1, both excluded")
}

pub(super) fn check_positive(value: f64, field: String) -> Result<(), SpecificationError> {
    require(value.is_finite() && value > 0.0, field, "must be greater than 0")
}

pub(super) fn check_finite(value: f64, field: String) -> Result<(), SpecificationError> {
    require(value.is_finite(), field, "must be a finite number")
}
