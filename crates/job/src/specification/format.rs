//! What a specification meant when it was written: its format number, and the way up from older ones.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Action, Architecture, BatchNormPolicy, Enough, FisherForm, Forget, HeldOutClass, Initialisation, Method,
    RandomLabel, RandomLabelForgetOnly, RollBack, Salun, SalunForgetOnly, Schedule, Scrub, Specification,
    SpecificationError, Step, Training, Unlearn, check::require,
};
use crate::check_format;

/// The form of specifications that this version writes. Older ones are read, and become this one.
///
/// | format | since | what changed |
/// |---|---|---|
/// | 1 | 0.1.0 | was not written down |
/// | 2 | 0.2.0 | words that bear a published name mean what was published; see [`Specification::upgrade`] |
/// | 3 | 0.3.0 | a step with several goals ends when all are reached |
pub const SPECIFICATION_FORMAT: u32 = 3;

impl Specification {
    /// Turns what an older version meant into words of this version, so that stored jobs go on as they began. Returns one
    /// sentence for each word that is called otherwise now.
    ///
    /// # Errors
    /// A format that this version does not know.
    pub fn upgrade(&mut self) -> Result<Vec<String>, SpecificationError> {
        check_format(self.format, SPECIFICATION_FORMAT)
            .map_err(|problem| SpecificationError::new("format", problem))?;
        let mut renamed = if self.format == 1 { upgrade_from_1(self)? } else { Vec::new() };
        if self.format <= 2 {
            renamed.extend(upgrade_from_2(self));
        }
        self.format = SPECIFICATION_FORMAT;
        // Defaults that differ from format to format are written out, whoever reads it next.
        for step in &mut self.steps {
            if let Action::Unlearn(unlearn) = &mut step.action {
                unlearn.method.say_defaults();
            }
        }
        Ok(renamed)
    }
}

impl Unlearn {
    /// Turns what a table of this format meant into words of this version: for what stands at rest without its
    /// specification, as in comparisons.
    ///
    /// # Errors
    /// An option of this version stands beside a word that meant something else then.
    pub fn upgrade_from(&mut self, format: u32) -> Result<(), SpecificationError> {
        if format == 1 {
            upgrade_unlearn(self, "", &mut |_, _, _| {})?;
            self.method.say_defaults();
        }
        if format <= 2 && self.stop.goals().count() > 1 {
            self.stop.enough = Enough::One;
        }
        Ok(())
    }
}

/// Version 0.1.
///
/// # Errors
/// An option of this version stands beside a word that meant something else then.
fn upgrade_from_1(specification: &mut Specification) -> Result<Vec<String>, SpecificationError> {
    let mut renamed = Vec::new();
    if let Forget::Class(class) = &mut specification.data.forget {
        class.held_out = HeldOutClass::Kept;
        renamed.push(
            "data.forget.class is `held-out = \"kept\"` now: held-out samples of the class stay in test, validation and \
             attack data; from format 2 on they lie apart unless this is said"
                .to_owned(),
        );
    }
    let fresh = |step: &Step| matches!(step.action, Action::Pretrain(_) | Action::Retrain(_));
    let drawn_otherwise = matches!(specification.model.architecture, Architecture::Resnet18 | Architecture::VggSmall);
    if drawn_otherwise && specification.steps.iter().any(fresh) {
        // As `torch` was for these networks: a gain of 1 changes nothing.
        specification.model.initialisation = Initialisation::Small { gain: 1.0 };
        let network = specification.model.architecture.name();
        renamed.push(format!(
            "model.initialisation is `{{ small = {{ gain = 1.0 }} }}`: so version 0.1 drew {network}; from format 2 on it is \
             drawn as published unless this is said"
        ));
    }
    for (index, step) in specification.steps.iter_mut().enumerate() {
        let mut tell = |field: &str, was: &str, is: &str| {
            renamed.push(format!("step[{index}].{field}: `{was}` of version 0.1 is `{is}` now"));
        };
        match &mut step.action {
            Action::Pretrain(training) => upgrade_training(training, "pretrain", &mut tell),
            Action::Retrain(training) => upgrade_training(training, "retrain", &mut tell),
            Action::Unlearn(unlearn) => upgrade_unlearn(unlearn, &format!("step[{index}]."), &mut tell)?,
            Action::TrainPredictor(wanted) => wanted.superseded = !wanted.architecture.reads_horizon(),
            // It names neither a policy nor a method: histories are trained by the batch's statistics, and unlearned
            // from forward, then as now.
            Action::Collect(collect) => {
                for schedule in &mut collect.schedules {
                    upgrade_schedule(schedule, "collect.schedules", &mut tell);
                }
            }
            Action::Given(_) | Action::Evaluate(_) => {}
        }
    }
    Ok(renamed)
}

/// Up to version 0.2 the first of several goals ended a step.
fn upgrade_from_2(specification: &mut Specification) -> Vec<String> {
    let mut told = Vec::new();
    for (index, step) in specification.steps.iter_mut().enumerate() {
        if let Action::Unlearn(unlearn) = &mut step.action
            && unlearn.stop.goals().count() > 1
        {
            unlearn.stop.enough = Enough::One;
            told.push(format!(
                "step[{index}].unlearn.stop is `enough = \"one\"`: up to format 2 the first goal that is reached ends a step; \
                 from format 3 on all are wanted unless this is said"
            ));
        }
    }
    told
}

fn upgrade_training(training: &mut Training, at: &str, tell: &mut impl FnMut(&str, &str, &str)) {
    upgrade_batch_norm(&mut training.batch_norm, at, tell);
    upgrade_schedule(&mut training.schedule, &format!("{at}.schedule"), tell);
    if let Some(nowcast) = &mut training.nowcast {
        nowcast.norms_jump = true;
        tell(&format!("{at}.nowcast"), "nowcast", "nowcast, norms-jump");
    }
}

fn upgrade_batch_norm(policy: &mut BatchNormPolicy, at: &str, tell: &mut impl FnMut(&str, &str, &str)) {
    if *policy == BatchNormPolicy::Frozen {
        *policy = BatchNormPolicy::Inference;
        tell(&format!("{at}.batch-norm"), "frozen", "inference");
    }
}

fn upgrade_schedule(schedule: &mut Schedule, at: &str, tell: &mut impl FnMut(&str, &str, &str)) {
    if let Schedule::WarmUp { then, .. } = schedule
        && **then == Schedule::Cosine
    {
        **then = Schedule::CosineFromStart;
        tell(&format!("{at}.warm-up.then"), "cosine", "cosine-from-start");
    }
}

fn upgrade_unlearn(
    unlearn: &mut Unlearn,
    step: &str,
    tell: &mut impl FnMut(&str, &str, &str),
) -> Result<(), SpecificationError> {
    upgrade_batch_norm(&mut unlearn.forward.batch_norm, "unlearn.forward", tell);
    upgrade_schedule(&mut unlearn.forward.schedule, "unlearn.forward.schedule", tell);
    if unlearn.roll_back == RollBack::HoldOutForgetError {
        unlearn.roll_back = RollBack::HoldOutErrorOfAll;
        tell("unlearn.roll-back", "hold-out-forget-error", "hold-out-error-of-all");
    }
    let name = unlearn.method.name();
    let is_old = |has_no_option: bool| {
        let problem = "has options of format 2, where its name means something else: say `format = 2`";
        require(has_no_option, format!("{step}unlearn.method.{name}"), problem)
    };
    match &mut unlearn.method {
        Method::RandomLabel(settings) => {
            is_old(*settings == RandomLabel::default())?;
            unlearn.method = Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default());
        }
        Method::Salun(settings) => {
            let share = settings.share;
            is_old(*settings == Salun { share, ..Salun::default() })?;
            unlearn.method = Method::SalunForgetOnly(SalunForgetOnly { share, ..SalunForgetOnly::default() });
        }
        Method::Fisher(settings) if settings.form.is_none() => {
            settings.form = Some(FisherForm::Clamped);
            settings.clamp = Some(settings.largest_inverse());
            tell("unlearn.method.fisher", "fisher", "fisher, form clamped");
        }
        Method::Scrub(settings) => {
            is_old(settings.forget_batch_size.is_none() && settings.remaining_batch_size.is_none())?;
            // Its defaults were others.
            *settings = Scrub {
                ascent_rounds: settings.ascent_rounds.or(Some(2)),
                gamma: settings.gamma.or(Some(0.99)),
                ..*settings
            };
        }
        _ => {}
    }
    if unlearn.method.name() != name {
        tell("unlearn.method", name, unlearn.method.name());
    }
    Ok(())
}

/// A specification in the words of its format.
pub(super) struct AsWritten(pub Specification);

impl<'de> Deserialize<'de> for AsWritten {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Specification::deserialize(deserializer).map(Self)
    }
}

// The derived functions are the specification's own (`remote`): whatever reads one, from TOML or from JSON, by itself or
// within a report, goes this way up.
impl<'de> Deserialize<'de> for Specification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut specification = Self::deserialize(deserializer)?;
        specification.upgrade().map_err(serde::de::Error::custom)?;
        Ok(specification)
    }
}

impl Serialize for Specification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}
