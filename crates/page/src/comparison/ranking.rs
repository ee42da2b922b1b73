//! Which method is best, and which others cannot be told from it.

use rewind_job::Measured;

use rewind_comparison::{ChooseBy, Compared, Interval, METRICS, MethodResult, MethodRun, References, mean};

/// What methods are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Average gap to Retrain, percentage points.
    Gap,
    /// Percent.
    TestAccuracy,
    /// Cross-entropy, nats.
    TestLoss,
}

impl Measure {
    /// Settings were chosen by its twin on validation data.
    pub fn headline(compared: &Compared) -> Self {
        match compared.comparison.choose_by {
            ChooseBy::AverageGap => Self::Gap,
            ChooseBy::ValidationAccuracy => Self::TestAccuracy,
            ChooseBy::ValidationLoss => Self::TestLoss,
        }
    }

    pub fn higher_is_better(self) -> bool {
        self == Self::TestAccuracy
    }

    pub fn places(self) -> usize {
        if self == Self::TestLoss { 3 } else { 1 }
    }

    /// Of one network alone; a gap needs Retrain's beside it.
    pub fn read(self, measured: &Measured) -> Option<f64> {
        match self {
            Self::Gap => None,
            Self::TestAccuracy => measured.ta,
            Self::TestLoss => measured.test_loss,
        }
    }

    /// One value a training seed, in the order of the references: the mean over its seeds of unlearning.
    fn by_seed(self, compared: &Compared, method: &MethodResult) -> Option<Vec<f64>> {
        match self {
            Self::Gap => compared.gaps(&method.name),
            _ => compared.by_seed(method).iter().map(|runs| mean(runs.iter().map(|run| self.read(run)))).collect(),
        }
    }

    /// Of the networks before unlearning, over training seeds.
    pub fn before(self, compared: &Compared) -> Option<Interval> {
        if self == Self::Gap {
            return gap_before(compared);
        }
        let values = compared.references.iter().map(|of| self.read(&of.pretrained));
        Interval::of(&values.collect::<Option<Vec<f64>>>()?)
    }

    /// Whether a mean is better than that of the networks before unlearning; none where those were not measured.
    pub fn improves(self, compared: &Compared, mean: f64) -> Option<bool> {
        let before = self.before(compared)?.mean;
        Some(if self.higher_is_better() { mean > before } else { mean < before })
    }
}

/// The average gap before unlearning, over training seeds; none without Retrain.
pub fn gap_before(compared: &Compared) -> Option<Interval> {
    let metrics = METRICS.iter().filter(|metric| ["ra", "ua", "ta", "mia"].contains(&metric.name));
    let gap = |of: &References| -> Option<f64> {
        let retrain = of.retrain.as_ref()?;
        let distances =
            metrics.clone().map(|metric| Some(((metric.read)(&of.pretrained)? - (metric.read)(retrain)?).abs()));
        Some(distances.collect::<Option<Vec<f64>>>()?.iter().sum::<f64>() / 4.0)
    };
    Interval::of(&compared.references.iter().map(gap).collect::<Option<Vec<f64>>>()?)
}

/// A method in its place.
pub struct Ranked<'a> {
    pub method: &'a MethodResult,
    /// Over training seeds.
    pub mean: Interval,
    /// How much worse it is than the first on the networks of the same seeds.
    pub behind: Interval,
}

impl Ranked<'_> {
    /// Whether the interval of the paired differences leaves open which of the two is better.
    pub fn is_tied(&self) -> bool {
        self.behind.low.is_none_or(|low| low <= 0.0)
    }
}

/// The methods of a group that forgot what was asked, the best first; those not measured are left out.
pub fn rank<'a>(compared: &'a Compared, group: &str, measure: Measure) -> Vec<Ranked<'a>> {
    let sign = if measure.higher_is_better() { -1.0 } else { 1.0 };
    let of_group = compared.methods.iter().filter(|method| method.group == group);
    let wanted = of_group.filter(|method| measure == Measure::Gap || has_forgotten(compared, method));
    let mut values: Vec<(&MethodResult, Vec<f64>, Interval)> = wanted
        .filter_map(|method| {
            let values = measure.by_seed(compared, method)?;
            let mean = Interval::of(&values)?;
            Some((method, values, mean))
        })
        .collect();
    values.sort_by(|(_, _, a), (_, _, b)| (sign * a.mean).total_cmp(&(sign * b.mean)));
    let Some(first) = values.first().map(|(_, values, _)| values.clone()) else { return Vec::new() };
    let ranked = values.into_iter().filter_map(|(method, values, mean)| {
        let behind: Vec<f64> = values.iter().zip(&first).map(|(value, best)| sign * (value - best)).collect();
        Some(Ranked { method, mean, behind: Interval::of(&behind)? })
    });
    ranked.collect()
}

/// The UA that a run was to reach, percent: Retrain's of its training seed, or what its stop asks for.
fn wanted_ua(compared: &Compared, method: &MethodResult, run: &MethodRun) -> Option<f64> {
    if compared.comparison.stop_at_retrains_ua {
        let references = compared.references.iter().find(|of| of.training_seed == run.training_seed)?;
        return references.retrain.as_ref()?.ua;
    }
    method.tries.get(method.chosen)?.unlearn.stop.wanted_ua()
}

/// Whether every run has the UA that it was to reach, if there is one.
pub fn has_forgotten(compared: &Compared, method: &MethodResult) -> bool {
    let reaches = |run: &MethodRun, wanted: f64| run.measured.ua.is_some_and(|ua| ua >= wanted - 1e-9);
    method.runs.iter().all(|run| wanted_ua(compared, method, run).is_none_or(|wanted| reaches(run, wanted)))
}

/// Runs that another rule ended than the one that was to: they did not reach what they were to.
pub fn fell_short(compared: &Compared, method: &MethodResult) -> usize {
    let ended_otherwise = |run: &MethodRun| {
        let is_asked = wanted_ua(compared, method, run).is_some();
        is_asked && !["ua-at-least", "forget-accuracy-at-most"].contains(&run.rule.as_str())
    };
    method.runs.iter().filter(|run| ended_otherwise(run)).count()
}
