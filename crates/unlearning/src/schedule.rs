//! The factor on the learning rate.

use std::f64::consts::PI;

use rewind_job::Schedule;

/// One optimiser step: the batch of an epoch, each counted from 0.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub epoch: u32,
    pub batch: usize,
    pub batches: usize,
}

/// Factor on the learning rate of a step, where the schedule spans `epochs`.
pub fn factor(schedule: &Schedule, moment: Moment, epochs: u32) -> f64 {
    let begun = f64::from(moment.epoch) + moment.batch as f64 / moment.batches as f64;
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine | Schedule::CosineFromStart => fall_along_cosine(begun / f64::from(epochs)),
        Schedule::Milestones { epochs, factor } => {
            factor.powi(epochs.iter().filter(|&&epoch| begun >= f64::from(epoch)).count() as i32)
        }
        Schedule::WarmUp { epochs: rising, then } => {
            // By the step's end: the first step is not lost, and the last one of the rise has the whole rate.
            let ended = f64::from(moment.epoch) + (moment.batch + 1) as f64 / moment.batches as f64;
            let rise = (ended / f64::from(*rising)).min(1.0);
            rise * match **then {
                // Over the epochs that are left; the rest counts from the first epoch.
                Schedule::Cosine if begun < f64::from(*rising) => 1.0,
                Schedule::Cosine => {
                    fall_along_cosine((begun - f64::from(*rising)) / f64::from(epochs.saturating_sub(*rising)))
                }
                _ => factor(then, moment, epochs),
            }
        }
    }
}

/// Half a cosine from 1 to 0, at this share of the way.
fn fall_along_cosine(share: f64) -> f64 {
    0.5 * (1.0 + (PI * share.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factor at so many quarters of an epoch, of ten epochs with four batches each.
    fn at(schedule: &Schedule, quarters: u32) -> f64 {
        factor(schedule, Moment { epoch: quarters / 4, batch: (quarters % 4) as usize, batches: 4 }, 10)
    }

    fn assert_follows(schedule: &Schedule, expected: &[(u32, f64)]) {
        for &(quarters, factor) in expected {
            let found = at(schedule, quarters);
            assert!((found - factor).abs() < 1e-12, "{schedule:?} after {quarters} quarters: {found}");
        }
    }

    #[test]
    fn schedules_follow_their_definition() {
        assert_eq!(at(&Schedule::Constant, 12), 1.0);
        assert_eq!(at(&Schedule::Cosine, 0), 1.0);
        assert_follows(&Schedule::Cosine, &[(10, 0.5 + 0.5_f64.sqrt() / 2.0), (20, 0.5), (40, 0.0), (44, 0.0)]);
        let steps = Schedule::Milestones { epochs: vec![2, 4], factor: 0.1 };
        assert_follows(&steps, &[(7, 1.0), (8, 0.1), (15, 0.1), (18, 0.01)]);
    }

    #[test]
    fn a_warm_up_rises_in_a_line_to_what_follows_it() {
        let constant = Schedule::WarmUp { epochs: 2, then: Box::new(Schedule::Constant) };
        assert_follows(&constant, &[(0, 0.125), (1, 0.25), (6, 0.875), (7, 1.0), (8, 1.0), (39, 1.0)]);
        let steps = Schedule::Milestones { epochs: vec![1, 3], factor: 0.5 };
        let steps = Schedule::WarmUp { epochs: 2, then: Box::new(steps) };
        assert_follows(&steps, &[(3, 0.5), (4, 0.3125), (8, 0.5), (12, 0.25)]);
        let cosine = Schedule::WarmUp { epochs: 2, then: Box::new(Schedule::Cosine) };
        let quarter = 0.5 + 0.5_f64.sqrt() / 2.0;
        assert_follows(&cosine, &[(0, 0.125), (7, 1.0), (8, 1.0), (16, quarter), (24, 0.5), (40, 0.0), (44, 0.0)]);
        let from_start = Schedule::WarmUp { epochs: 2, then: Box::new(Schedule::CosineFromStart) };
        assert_follows(&from_start, &[(10, quarter), (20, 0.5), (40, 0.0)]);
        let all = Schedule::WarmUp { epochs: 10, then: Box::new(Schedule::Cosine) };
        assert_follows(&all, &[(0, 0.025), (39, 1.0), (40, 0.0), (44, 0.0)]);
    }
}
