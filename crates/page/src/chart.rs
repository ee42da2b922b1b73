//! Charts as SVG: frame, axes, lines, markers. No styles inline; the page's sheet colours the classes.

use super::text::{Escaped, decimal};

/// A method's place in the report; it fixes colour, dash and marker, so that colour is never the only sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series(pub usize);

impl Series {
    /// The references, in ink and in grey.
    pub const RETRAIN: Self = Self(usize::MAX);
    pub const PRETRAINED: Self = Self(usize::MAX - 1);

    pub fn color(self) -> usize {
        match self {
            Self::RETRAIN => 6,
            Self::PRETRAINED => 7,
            Self(index) => index % 6,
        }
    }

    /// Five shapes and six colours repeat together only after thirty methods.
    fn shape(self) -> usize {
        match self {
            Self::RETRAIN => 0,
            Self::PRETRAINED => 4,
            Self(index) => index % 5,
        }
    }

    /// A short piece of its line, for legends and tables.
    pub fn key(self) -> String {
        format!(
            "<svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><polyline class=\"line s{} d{}\" points=\"1,8 33,8\"/>{}</svg>",
            self.color(),
            self.shape(),
            marker(self, 17.0, 8.0, 4.0)
        )
    }

    /// Its marker alone.
    pub fn swatch(self) -> String {
        format!(
            "<svg class=\"swatch\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{}</svg>",
            marker(self, 8.0, 8.0, 5.0)
        )
    }
}

/// One marker around a centre.
pub fn marker(series: Series, x: f64, y: f64, radius: f64) -> String {
    let class = format!("mark s{}", series.color());
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<String> =
            points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * radius, y + dy * radius)).collect();
        format!("<polygon class=\"{class}\" points=\"{}\"/>", points.join(" "))
    };
    match series.shape() {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
        _ => polygon(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
    }
}

/// Maps values to pixels; `low` need not be drawn left of `high`.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    step: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Covers the values with round limits and about `ticks` ticks; never beyond `limits`.
    /// Values that are not finite are left out.
    pub fn covering(values: impl IntoIterator<Item = f64>, limits: (f64, f64), ticks: usize) -> Self {
        // Steps below one would show noise: axes count percent or rounds.
        Self::with_steps(values, limits, ticks, 1.0)
    }

    /// As [`covering`](Self::covering), for what is not counted: steps may be as small as the values ask.
    pub fn covering_finely(values: impl IntoIterator<Item = f64>, limits: (f64, f64), ticks: usize) -> Self {
        Self::with_steps(values, limits, ticks, 0.0)
    }

    fn with_steps(values: impl IntoIterator<Item = f64>, limits: (f64, f64), ticks: usize, least: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low < 1e-9 * low.abs().max(1e-6) {
            let around = if least > 0.0 { least } else { low.abs().max(1e-6) * 0.1 };
            (low, high) = (low - around, high + around);
        }
        let rough = (high - low) / ticks.max(1) as f64;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * magnitude).max(least);
        low = ((low / step).floor() * step).max(limits.0);
        high = ((high / step).ceil() * step).min(limits.1);
        while high - low < 3.0 * step {
            if low - step >= limits.0 {
                low -= step;
            } else {
                high += step;
            }
        }
        Self { low, high, step, start: 0.0, end: 1.0 }
    }

    /// From `low` to `high` and no further, with about `ticks` ticks.
    pub fn exactly(low: f64, high: f64, ticks: usize) -> Self {
        let Self { step, .. } = Self::covering_finely([low, high], (f64::NEG_INFINITY, f64::INFINITY), ticks);
        Self { low, high, step, start: 0.0, end: 1.0 }
    }

    fn between(self, start: f64, end: f64) -> Self {
        Self { start, end, ..self }
    }

    pub fn at(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil();
        let count = ((self.high / self.step + 1e-9).floor() - first).clamp(0.0, 50.0) as usize;
        (0..=count).map(|index| (first + index as f64) * self.step).collect()
    }

    /// Digits behind the point that tell ticks apart.
    fn places(&self) -> usize {
        (-self.step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize
    }
}

/// A chart is drawn twice, for wide and for narrow screens, so that its letters keep their size.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub class: &'static str,
    pub width: f64,
    pub height: f64,
}

impl Size {
    /// As high as makes a unit of y as long as one of x, where the ranges' ratio is this; but never very flat or very high.
    pub fn with_aspect(self, y_to_x: f64) -> Self {
        let height = (self.width - LEFT - RIGHT) * y_to_x.clamp(0.25, 1.5);
        Self { height: height + TOP + BOTTOM, ..self }
    }
}

pub const LARGE: [Size; 2] =
    [Size { class: "wide", width: 960.0, height: 470.0 }, Size { class: "narrow", width: 360.0, height: 360.0 }];
pub const SMALL: [Size; 2] =
    [Size { class: "wide", width: 468.0, height: 300.0 }, Size { class: "narrow", width: 360.0, height: 270.0 }];

/// Labels of a chart.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Unique in the page.
    pub id: &'a str,
    /// Read aloud instead of the drawing.
    pub description: &'a str,
    pub x: &'a str,
    pub y: &'a str,
}

pub struct Frame<'a> {
    size: Size,
    labels: Labels<'a>,
    x: Scale,
    y: Scale,
    body: String,
    /// Names of levels: above the lines, and never cut off.
    names: String,
}

const LEFT: f64 = 46.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;

impl<'a> Frame<'a> {
    /// `reversed`: large values left.
    pub fn new(size: Size, labels: Labels<'a>, x: Scale, y: Scale, reversed: bool) -> Self {
        let (left, right) = (LEFT, size.width - RIGHT);
        let x = if reversed { x.between(right, left) } else { x.between(left, right) };
        let y = y.between(size.height - BOTTOM, TOP);
        Self { size, labels, x, y, body: String::new(), names: String::new() }
    }

    fn point(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let (x, y) = (self.x.at(x), self.y.at(y));
        // Far outside is still outside, and keeps the file free of absurd numbers.
        (x.is_finite() && y.is_finite()).then(|| (x.clamp(-1e4, 1e4), y.clamp(-1e4, 1e4)))
    }

    fn is_inside(&self, (x, y): (f64, f64)) -> bool {
        let slack = 0.5;
        (LEFT - slack..=self.size.width - RIGHT + slack).contains(&x)
            && (TOP - slack..=self.size.height - BOTTOM + slack).contains(&y)
    }

    /// A line through the points, with an arrowhead on its longest stretches: which way time runs.
    pub fn line(&mut self, series: Series, points: &[(f64, f64)], arrows: bool) {
        let pixels: Vec<(f64, f64)> = points.iter().filter_map(|point| self.point(*point)).collect();
        if pixels.len() < 2 {
            return;
        }
        let path: Vec<String> = pixels.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.body.push_str(&format!(
            "<polyline class=\"line s{} d{}\" points=\"{}\"/>\n",
            series.color(),
            series.shape(),
            path.join(" ")
        ));
        if !arrows {
            return;
        }
        let mut stretches: Vec<_> = pixels.windows(2).map(|pair| (pair[0], pair[1])).collect();
        stretches.retain(|(a, b)| distance(*a, *b) > 34.0 && self.is_inside(middle(*a, *b)));
        stretches.sort_by(|(a, b), (c, d)| distance(*c, *d).total_cmp(&distance(*a, *b)));
        for (a, b) in stretches.into_iter().take(2) {
            let (x, y) = middle(a, b);
            let angle = (b.1 - a.1).atan2(b.0 - a.0).to_degrees();
            self.body.push_str(&format!(
                "<polygon class=\"arrow s{}\" points=\"-5,-4.5 6,0 -5,4.5\" transform=\"translate({x:.1} {y:.1}) rotate({angle:.1})\"/>\n",
                series.color()
            ));
        }
    }

    /// A marker with a text shown under the pointer; the selected one is ringed. Outside the frame nothing is drawn.
    pub fn mark(&mut self, series: Series, point: (f64, f64), selected: bool, hint: &str) {
        let Some((x, y)) = self.point(point).filter(|pixel| self.is_inside(*pixel)) else { return };
        let ring = if selected {
            format!("<circle class=\"ring s{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9.5\"/>", series.color())
        } else {
            String::new()
        };
        self.body.push_str(&format!(
            "<g class=\"point\"><title>{}</title><circle class=\"reach\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"11\"/>{ring}{}</g>\n",
            Escaped(hint),
            marker(series, x, y, if selected { 4.6 } else { 3.4 }),
        ));
    }

    /// A path over a picture: a line with a rim that sets it off from any colour below.
    pub fn rimmed_line(&mut self, series: Series, points: &[(f64, f64)]) {
        let pixels = points.iter().filter_map(|point| self.point(*point));
        let path: Vec<String> = pixels.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        if path.len() > 1 {
            self.body.push_str(&format!("<polyline class=\"rim\" points=\"{}\"/>\n", path.join(" ")));
            self.line(series, points, false);
        }
    }

    /// A picture (a data URI) that fills a rectangle of the plane.
    pub fn picture(&mut self, x: (f64, f64), y: (f64, f64), uri: &str) {
        let (Some(low), Some(high)) = (self.point((x.0, y.0)), self.point((x.1, y.1))) else { return };
        self.body.push_str(&format!(
            "<image class=\"pixels\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" preserveAspectRatio=\"none\" href=\"{}\"/>\n",
            low.0.min(high.0),
            low.1.min(high.1),
            (high.0 - low.0).abs(),
            (high.1 - low.1).abs(),
            Escaped(uri)
        ));
    }

    /// Small dots, as many as there are; those outside of the frame are not drawn.
    pub fn dots(&mut self, series: Series, points: &[(f64, f64)]) {
        let pixels = points.iter().filter_map(|&point| self.point(point)).filter(|&pixel| self.is_inside(pixel));
        let dot =
            |(x, y)| format!("<circle class=\"dot s{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.8\"/>\n", series.color());
        let dots: String = pixels.map(dot).collect();
        self.body.push_str(&dots);
    }

    /// A reference: a cross in ink, not in a method's colour.
    pub fn reference(&mut self, point: (f64, f64), hint: &str) {
        let Some((x, y)) = self.point(point).filter(|pixel| self.is_inside(*pixel)) else { return };
        self.body.push_str(&format!(
            "<g class=\"point\"><title>{}</title><circle class=\"reach\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"12\"/><path class=\"cross\" d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}M{x0:.1} {y1:.1}L{x1:.1} {y0:.1}\"/></g>\n",
            Escaped(hint),
            x0 = x - 5.5,
            x1 = x + 5.5,
            y0 = y - 5.5,
            y1 = y + 5.5,
        ));
    }

    /// A dashed level across the frame with its name, above the line or below it, in the half without `beside`.
    pub fn level(&mut self, value: f64, name: &str, above: bool, beside: Option<f64>) {
        let y = self.y.at(value);
        if !y.is_finite() || !(TOP - 0.5..=self.size.height - BOTTOM + 0.5).contains(&y) {
            return;
        }
        let right = self.size.width - RIGHT;
        let at_left = beside.is_some_and(|value| self.x.at(value) > f64::midpoint(LEFT, right));
        let (x, anchor) = if at_left { (LEFT + 4.0, "start") } else { (right - 4.0, "end") };
        self.body.push_str(&format!(
            "<line class=\"level\" x1=\"{LEFT:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n"
        ));
        self.names.push_str(&format!(
            "<text class=\"level-name\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            if above { y - 6.0 } else { y + 15.0 },
            Escaped(name)
        ));
    }

    pub fn finish(self) -> String {
        let Size { class, width, height } = self.size;
        let (right, bottom) = (width - RIGHT, height - BOTTOM);
        let mut axes = String::new();
        for tick in self.y.ticks() {
            let y = self.y.at(tick);
            axes.push_str(&format!(
                "<line class=\"grid\" x1=\"{LEFT:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick-name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                decimal(tick, self.y.places())
            ));
        }
        for tick in self.x.ticks() {
            let x = self.x.at(tick);
            axes.push_str(&format!(
                "<line class=\"notch\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/><text class=\"tick-name\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                decimal(tick, self.x.places())
            ));
        }
        format!(
            r#"<svg class="chart {class}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{description}">
<defs><clipPath id="{id}-{class}"><rect x="{clip_x:.1}" y="{clip_y:.1}" width="{clip_width:.1}" height="{clip_height:.1}"/></clipPath></defs>
{axes}<line class="axis" x1="{LEFT:.1}" x2="{right:.1}" y1="{bottom:.1}" y2="{bottom:.1}"/>
<text class="axis-name" x="4" y="14">{y_label}</text><text class="axis-name" x="{right:.1}" y="{x_label_y:.1}" text-anchor="end">{x_label}</text>
<g clip-path="url(#{id}-{class})">
{body}</g>
{names}</svg>
"#,
            description = Escaped(self.labels.description),
            id = self.labels.id,
            clip_x = LEFT - 11.0,
            clip_y = TOP - 11.0,
            clip_width = right - LEFT + 22.0,
            clip_height = bottom - TOP + 11.0,
            y_label = Escaped(self.labels.y),
            x_label = Escaped(self.labels.x),
            x_label_y = height - 6.0,
            body = self.body,
            names = self.names,
        )
    }
}

fn distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    (b.0 - a.0).hypot(b.1 - a.1)
}

fn middle(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_round_and_cover_the_values() {
        let scale = Scale::covering([86.6, 97.8], (0.0, 100.0), 5);
        assert!(scale.low <= 86.6 && scale.high >= 97.8);
        assert_eq!(scale.ticks(), [85.0, 90.0, 95.0, 100.0]);
    }

    #[test]
    fn ticks_have_as_many_digits_as_their_step() {
        let places = |step| Scale { low: 0.0, high: 1.0, step, start: 0.0, end: 1.0 }.places();
        assert_eq!([20.0, 1.0, 0.5, 0.1, 0.05, 0.01].map(places), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn one_value_or_none_still_makes_a_scale() {
        for values in [vec![], vec![f64::NAN], vec![50.0], vec![100.0, 100.0], vec![0.0]] {
            let scale = Scale::covering(values, (0.0, 100.0), 5).between(40.0, 300.0);
            assert!(scale.at(50.0).is_finite());
            assert!(!scale.ticks().is_empty());
        }
    }

    #[test]
    fn points_outside_the_frame_are_not_marked() {
        let labels = Labels { id: "c", description: "", x: "", y: "" };
        let scale = Scale::covering([0.0, 10.0], (0.0, 100.0), 5);
        let mut frame = Frame::new(SMALL[0], labels, scale, scale, false);
        frame.mark(Series(0), (5.0, 90.0), false, "outside");
        frame.mark(Series(0), (5.0, 5.0), false, "inside");
        frame.mark(Series(0), (f64::NAN, 5.0), false, "nowhere");
        let svg = frame.finish();
        assert!(svg.contains("inside") && !svg.contains("outside") && !svg.contains("nowhere"));
    }
}
