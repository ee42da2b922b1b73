//! Which method is best, and which others cannot be told from it.

use rewind_job::Measured;

use crate::{
    commands::compare::{ChooseBy, Compared, METRICS, MethodResult, References},
    interval::Interval,
};

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
        let values: Vec<f64> = match self {
            Self::Gap => compared.gaps(&method.name)?,
            _ => method.runs.iter().map(|run| self.read(&run.measured)).collect::<Option<_>>()?,
        };
        let of_seed = |seed: u64| {
            let of_seed = method.runs.iter().zip(&values).filter(|(run, _)| run.training_seed == seed);
            let of_seed: Vec<f64> = of_seed.map(|(_, value)| *value).collect();
            Interval::of(&of_seed).map(|interval| interval.mean)
        };
        compared.references.iter().map(|of| of_seed(of.training_seed)).collect()
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
    let wanted = of_group.filter(|method| measure == Measure::Gap || has_forgotten(method));
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

/// Whether every run reached the UA that its stop asks for, if it asks for one.
pub fn has_forgotten(method: &MethodResult) -> bool {
    let stop = method.tries.get(method.chosen).map(|tried| &tried.unlearn.stop);
    let Some(wanted) = stop.and_then(rewind_job::Stop::wanted_ua) else { return true };
    method.runs.iter().all(|run| run.measured.ua.is_some_and(|ua| ua >= wanted))
}
