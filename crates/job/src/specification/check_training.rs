//! Checks of how a step trains: augmentation, schedule, optimiser, jumps ahead.

use super::{
    Adam, Augment, Optimiser, Schedule, Specification, SpecificationError, Training,
    check::{check_positive, require},
};

impl Specification {
    pub(super) fn check_augment(&self, augment: Option<Augment>, at: &str) -> Result<(), SpecificationError> {
        let Some(augment) = augment else { return Ok(()) };
        let ranges = [
            ("rotate", augment.rotate, 0.0..=180.0, "must be from 0 to 180 degrees"),
            ("shift", augment.shift, 0.0..=1.0, "must be from 0 to 1, a share of the image"),
            ("shear", augment.shear, 0.0..=89.0, "must be from 0 to 89 degrees"),
            ("zoom", augment.zoom, 0.0..=0.9, "must be from 0 to 0.9"),
        ];
        for (name, most, range, problem) in ranges {
            require(range.contains(&most), format!("{at}.{name}"), problem)?;
        }
        let changes = augment.crop > 0 || augment.flip || augment.is_affine();
        require(changes, at, "changes nothing: give crop, rotate, shift, shear or zoom, or flip = true")?;
        let least = self.model.image[1].min(self.model.image[2]);
        require(augment.crop < least, format!("{at}.crop"), "must be less than the image's height and width")
    }
}

pub(super) fn check_training(training: &Training, at: &str) -> Result<(), SpecificationError> {
    require(training.epochs > 0, format!("{at}.epochs"), "must be at least 1")?;
    require(training.batch_size > 0, format!("{at}.batch-size"), "must be at least 1")?;
    require(
        !training.batch_norm.recomputes(),
        format!("{at}.batch-norm"),
        "recompute and train-recompute are policies of unlearning",
    )?;
    training.schedule.check(&format!("{at}.schedule"))?;
    if let Some(nowcast) = &training.nowcast {
        let at = |field: &str| format!("{at}.nowcast.{field}");
        require((2..=1000).contains(&nowcast.snapshots), at("snapshots"), "must be from 2 to 1000")?;
        let seen = nowcast.every >= nowcast.snapshots;
        require(seen, at("every"), "must be at least the number of snapshots, which lie between two jumps")?;
        require(nowcast.horizon > 0, at("horizon"), "must be at least 1")?;
        check_positive(nowcast.scale, at("scale"))?;
    }
    check_optimiser(&training.optimiser, &format!("{at}.optimiser"))
}

impl Schedule {
    /// Refuses impossible values; `at` is the field's name.
    ///
    /// # Errors
    /// The first one found.
    pub fn check(&self, at: &str) -> Result<(), SpecificationError> {
        match self {
            Self::Constant | Self::Cosine | Self::CosineFromStart => Ok(()),
            Self::Milestones { epochs, factor } => {
                check_positive(*factor, format!("{at}.milestones.factor"))?;
                require(epochs.is_sorted(), format!("{at}.milestones.epochs"), "must be in ascending order")
            }
            Self::WarmUp { epochs, then } => {
                require(*epochs > 0, format!("{at}.warm-up.epochs"), "must be at least 1")?;
                let once = !matches!(**then, Self::WarmUp { .. });
                require(once, format!("{at}.warm-up.then"), "must not be another warm-up")?;
                then.check(&format!("{at}.warm-up.then"))
            }
        }
    }
}

pub(super) fn check_optimiser(optimiser: &Optimiser, at: &str) -> Result<(), SpecificationError> {
    let (name, weight_decay) = match optimiser {
        Optimiser::Sgd(o) => {
            check_unit(o.momentum, format!("{at}.sgd.momentum"))?;
            require(!o.nesterov || o.momentum > 0.0, format!("{at}.sgd.nesterov"), "needs momentum")?;
            ("sgd", o.weight_decay)
        }
        Optimiser::Adam(o) => check_moments(o, "adam", at)?,
        Optimiser::Adamw(o) => check_moments(&o.as_adam(), "adamw", at)?,
    };
    check_positive(optimiser.learning_rate(), format!("{at}.{name}.learning-rate"))?;
    require(weight_decay.is_finite() && weight_decay >= 0.0, format!("{at}.{name}.weight-decay"), "must be at least 0")
}

/// Checks the numbers of Adam under a name; returns the name and the weight decay.
fn check_moments(o: &Adam, name: &'static str, at: &str) -> Result<(&'static str, f64), SpecificationError> {
    check_unit(o.beta1, format!("{at}.{name}.beta1"))?;
    check_unit(o.beta2, format!("{at}.{name}.beta2"))?;
    check_positive(o.epsilon, format!("{at}.{name}.epsilon"))?;
    Ok((name, o.weight_decay))
}

fn check_unit(value: f64, field: String) -> Result<(), SpecificationError> {
    require((0.0..1.0).contains(&value), field, "must be at least 0 and less than 1")
}
