//! Refusing what a method's settings cannot be.

use super::{
    Fisher, FisherForm, Forget, Forward, Lambda, Method, RollBack, Schedule, Specification, SpecificationError,
    TaskVector, Unlearn,
    check::{check_finite, check_positive, check_share, require},
};

impl Method {
    /// Refuses impossible values; `at` is the field of the method, as in `unlearn.method`.
    ///
    /// # Errors
    /// The first one found.
    pub(super) fn check(&self, at: &str) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{}.{field}", self.name());
        if let Some(trajectory) = self.trajectory() {
            let snapshots = (2..=1000).contains(&trajectory.snapshots);
            require(snapshots, at("trajectory.snapshots"), "must be from 2 to 1000")?;
            let few = trajectory.warm_up_epochs <= 1000;
            require(few, at("trajectory.warm-up-epochs"), "must be at most 1000")?;
        }
        match self {
            Self::Rewinding(m) => {
                require(m.horizon > 0, at("horizon"), "must be at least 1")?;
                check_positive(m.scale, at("scale"))
            }
            Self::TaskVector(TaskVector { lambda: Lambda::One(lambda), .. }) => check_finite(*lambda, at("lambda")),
            Self::TaskVector(TaskVector { lambda: Lambda::PerOperation(l), .. }) => {
                for (name, value) in
                    [("convolution", l.convolution), ("fully-connected", l.fully_connected), ("bias", l.bias)]
                {
                    let finite = |third| check_finite(value.of_third(third), at(&format!("lambda.{name}")));
                    (0..3).try_for_each(finite)?;
                }
                Ok(())
            }
            Self::NegGrad {}
            | Self::RandomLabel(_)
            | Self::RandomLabelForgetOnly(_)
            | Self::BoundaryExpand {}
            | Self::FineTune {} => Ok(()),
            Self::Salun(m) => check_share(m.share, &at("share")),
            Self::SalunForgetOnly(m) => check_share(m.share, &at("share")),
            Self::BoundaryShrink(m) => check_positive(m.step, at("step")),
            Self::WeightNoise(m) => {
                check_positive(m.sigma, at("sigma"))?;
                check_share(m.share, &at("share"))
            }
            Self::Fisher(m) => check_fisher(m, at),
            Self::Scrub(m) => {
                check_positive(m.temperature(), at("temperature"))?;
                for (name, factor) in [("gamma", m.gamma()), ("alpha", m.alpha())] {
                    require(factor.is_finite() && factor >= 0.0, at(name), "must be at least 0")?;
                }
                require(m.forget_batch_size != Some(0), at("forget-batch-size"), "must be at least 1")?;
                require(m.remaining_batch_size != Some(0), at("remaining-batch-size"), "must be at least 1")
            }
        }
    }
}

fn check_fisher(fisher: &Fisher, at: impl Fn(&str) -> String) -> Result<(), SpecificationError> {
    let missing = "is missing: empirical, expected or clamped, which differ much";
    require(fisher.form.is_some(), at("form"), missing)?;
    check_positive(fisher.alpha, at("alpha"))?;
    let fits = fisher.clamp.is_none() || fisher.form == Some(FisherForm::Clamped);
    require(fits, at("clamp"), "is of the form `clamped` alone: the bounds of the others are part of them")?;
    check_positive(fisher.largest_inverse(), at("clamp"))?;
    require(fisher.samples != Some(0), at("samples"), "must be at least 1")
}

impl Forward {
    /// # Errors
    /// The schedule is impossible, or the method takes no steps that it could be of; `at` is the field `forward`.
    pub(super) fn check_schedule(&self, method: &Method, at: &str) -> Result<(), SpecificationError> {
        let field = format!("{at}.schedule");
        let is_followed = self.schedule == Schedule::Constant || method.trains();
        require(is_followed, field.as_str(), format!("`{}` takes no steps of the optimiser", method.name()))?;
        self.schedule.check(&field)
    }
}

impl Specification {
    /// # Errors
    /// The job lacks the data by which the round is chosen, or has other labels than the rule compares; `at` is the
    /// field.
    pub(super) fn check_roll_back(&self, unlearn: &Unlearn, at: String) -> Result<(), SpecificationError> {
        let has_it = self.data.split.is_some();
        require(unlearn.roll_back == RollBack::None || has_it, at.as_str(), "needs validation data (data.split)")?;
        let is_mislabelled = matches!(self.data.forget, Forget::LabelNoise { .. } | Forget::Backdoor(_));
        require(
            unlearn.roll_back != RollBack::HoldOutForgetError || !is_mislabelled,
            at,
            "hold-out-forget-error compares errors on the forget data and on validation data of its classes, but the \
             forget data has other labels than its true ones",
        )
    }
}
