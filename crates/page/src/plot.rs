//! A plain chart: one line a network over a common abscissa.

use super::{
    chart::{Frame, Labels, Scale, Size},
    stage::Stage,
    text::decimal,
};

/// What to draw, and how its axes are called.
#[derive(Default)]
pub struct Plot<'a> {
    /// Unique among the drawings of its stage.
    pub id: &'a str,
    /// Read aloud instead of the drawing.
    pub description: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// The ordinate goes no further than this.
    pub limits: (f64, f64),
    /// Digits behind the point of what is shown under the pointer.
    pub places: usize,
    pub lines: Vec<(&'a str, Vec<(f64, f64)>)>,
    /// Large abscissae left.
    pub reversed: bool,
    /// Points without marks: there are too many.
    pub unmarked: bool,
    /// Crosses, with what is shown under the pointer.
    pub references: Vec<((f64, f64), String)>,
}

impl Plot<'_> {
    /// One drawing a size; nothing where no line has two points.
    pub fn draw(&self, stage: &Stage, sizes: [Size; 2]) -> String {
        let is_finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
        let finite = |points: &[(f64, f64)]| points.iter().copied().filter(is_finite).collect::<Vec<_>>();
        let lines: Vec<_> = self.lines.iter().map(|(name, points)| (*name, finite(points))).collect();
        if lines.iter().all(|(_, points)| points.len() < 2) {
            return String::new();
        }
        let drawn = || lines.iter().flat_map(|(_, points)| points.iter().copied());
        let all = || drawn().chain(self.references.iter().map(|(point, _)| *point).filter(is_finite));
        let id = format!("{}{}", stage.id, self.id);
        let draw = |size: Size| {
            let labels = Labels { id: &id, description: self.description, x: self.x, y: self.y };
            let whole = drawn().all(|(x, _)| x.fract() == 0.0);
            let x_scale = if whole { Scale::covering } else { Scale::covering_finely };
            let x = x_scale(all().map(|(x, _)| x), (0.0, f64::INFINITY), 5);
            let y = Scale::covering_finely(all().map(|(_, y)| y), self.limits, 5);
            let mut frame = Frame::new(size, labels, x, y, self.reversed);
            for (name, points) in &lines {
                frame.line(stage.series(name), points, self.reversed);
            }
            for (name, points) in lines.iter().filter(|_| !self.unmarked) {
                for &(x, y) in points {
                    let (shown_x, shown_y) = (decimal(x, if whole { 0 } else { 2 }), decimal(y, self.places));
                    let hint = format!("{name}, {} {shown_x}: {shown_y}", self.x);
                    frame.mark(stage.series(name), (x, y), false, &hint);
                }
            }
            for (point, hint) in &self.references {
                frame.reference(*point, hint);
            }
            frame.finish()
        };
        sizes.map(draw).concat()
    }
}

/// Point by point over all curves, as far as the shortest goes.
pub fn mean_curve(curves: &[&[f64]]) -> Vec<f64> {
    let length = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    let mean = |at: usize| curves.iter().map(|curve| curve[at]).sum::<f64>() / curves.len() as f64;
    (0..length).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_curves_ends_with_the_shortest() {
        assert_eq!(mean_curve(&[&[10.0, 20.0, 30.0], &[30.0, 60.0]]), [20.0, 40.0]);
        assert!(mean_curve(&[]).is_empty());
    }
}
