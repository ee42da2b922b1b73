//! What is read off a curve: the best on the way, and the value at an abscissa.

/// The ordinate where the curve first reaches the abscissa, between rounds by linear interpolation; none where it never
/// does. Points are in the order of rounds.
pub fn at(points: &[(f64, f64)], abscissa: f64) -> Option<f64> {
    if let Some((_, y)) = points.first().filter(|(x, _)| *x == abscissa) {
        return Some(*y);
    }
    points.windows(2).find_map(|pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let share = (abscissa - x0) / (x1 - x0);
        (0.0..=1.0).contains(&share).then_some(y0 + share * (y1 - y0))
    })
}

/// The best ordinate of all rounds, the start among them.
pub fn best(points: &[(f64, f64)], higher_is_better: bool) -> Option<f64> {
    points.iter().map(|(_, y)| *y).reduce(if higher_is_better { f64::max } else { f64::min })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accuracy on the wrong labels falls, test accuracy rises and falls.
    const CURVE: [(f64, f64); 4] = [(100.0, 86.0), (70.0, 92.0), (50.0, 90.0), (10.0, 70.0)];

    #[test]
    fn values_between_rounds_are_interpolated() {
        // A third of the way from 100 to 70 is 90: 86 + 6 / 3. Half of the way from 70 to 50: 91.
        assert_eq!(at(&CURVE, 90.0), Some(88.0));
        assert_eq!(at(&CURVE, 60.0), Some(91.0));
        // Three quarters of the way from 50 to 10.
        assert_eq!(at(&CURVE, 20.0), Some(75.0));
    }

    #[test]
    fn values_at_rounds_are_those_of_the_rounds() {
        assert_eq!((at(&CURVE, 100.0), at(&CURVE, 70.0), at(&CURVE, 10.0)), (Some(86.0), Some(92.0), Some(70.0)));
    }

    #[test]
    fn a_curve_that_does_not_reach_has_no_value() {
        assert_eq!((at(&CURVE, 9.0), at(&CURVE, 100.5), at(&[], 50.0)), (None, None, None));
        assert_eq!(at(&[(50.0, 1.0)], 50.0), Some(1.0));
    }

    #[test]
    fn a_curve_that_returns_is_read_where_it_first_reaches() {
        // Loss rises past 1.5, falls and rises again: read on the first way up, half-way from 1 to 2.
        assert_eq!(at(&[(1.0, 4.0), (2.0, 3.0), (1.0, 9.0), (3.0, 1.0)], 1.5), Some(3.5));
        // Rounds that stay where they are divide by nothing.
        assert_eq!(at(&[(1.0, 4.0), (1.0, 5.0), (2.0, 3.0)], 1.5), Some(4.0));
    }

    #[test]
    fn the_best_on_the_way_may_be_the_start() {
        assert_eq!((best(&CURVE, true), best(&CURVE, false), best(&[], true)), (Some(92.0), Some(70.0), None));
        assert_eq!(best(&[(100.0, 86.0), (50.0, 80.0)], true), Some(86.0));
    }
}
