//! Accuracies on a plane through the weights, with the way each method took over it.

use rewind_job::LandscapeReport;

use super::{
    chart::{Frame, Labels, Scale, Size},
    picture::{Color, data_uri, viridis},
    retrains_start::RetrainsStart,
    stage::Stage,
    text::{Escaped, decimal},
};

const SIZES: [Size; 2] =
    [Size { class: "wide", width: 468.0, height: 430.0 }, Size { class: "narrow", width: 360.0, height: 340.0 }];

/// `retrain`: its name, if it may be on the plane, and where it started.
pub fn render(stage: &Stage, landscape: Option<&LandscapeReport>, retrain: Option<(&str, RetrainsStart)>) -> String {
    let Some(landscape) = landscape else { return String::new() };
    let mut maps = String::new();
    if let Some(test) = &landscape.test_accuracy {
        maps.push_str(&map(stage, landscape, "test", "test accuracy", test));
    }
    maps.push_str(&map(stage, landscape, "forget", "accuracy on the samples to forget", &landscape.forget_accuracy));
    if maps.is_empty() {
        return String::new();
    }
    let is_there = |name: &str| landscape.paths.iter().any(|path| path.name == name);
    let start = retrain.filter(|(name, _)| is_there(name)).map_or("", |(_, start)| start.words());
    let names = landscape.paths.iter().map(|path| path.name.as_str());
    let ring = "<li><svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><circle class=\"ring plain\" cx=\"17\" cy=\"8\" r=\"6.5\"/></svg>result</li>\n";
    let body = format!(
        r#"<p>The plane lies through the weights of all rounds so that it shows most of their differences. Each point of it is a network, whose accuracy is the colour; each line is the way a method took, from the trained network on. A method does well that leaves the bright ground of accuracy on the samples to forget, and stays on that of test accuracy.</p>
<div class="pair">
{maps}</div>
{legend}<p class="notes">The plane of the first two principal components of all rounds’ weights explains {share} % of their variance; what lies off the plane is not seen here. At every point BatchNorm’s statistics are taken anew on the samples to forget, whatever a method did: the colour under a mark is not the accuracy of the method’s network, which stands in the table.{start}</p>
"#,
        legend = stage.legend(names, ring),
        share = decimal(100.0 * (landscape.explained[0] + landscape.explained[1]), 1),
    );
    stage.section("Landscape", &body)
}

fn map(stage: &Stage, landscape: &LandscapeReport, id: &str, what: &str, values: &[Vec<f64>]) -> String {
    let (Some(x), Some(y)) = (extent(&landscape.x), extent(&landscape.y)) else { return String::new() };
    let (width, height) = (landscape.x.len(), landscape.y.len());
    let finite = || values.iter().flatten().copied().filter(|value| value.is_finite());
    if values.len() != height || values.iter().any(|row| row.len() != width) || finite().next().is_none() {
        return String::new();
    }
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let share = |value: f64| if high > low { (value - low) / (high - low) } else { value * 0.0 + 0.5 };
    // The first row of a picture is the top, the first of the plane the bottom.
    let pixels: Vec<Color> = values.iter().rev().flatten().map(|value| viridis(share(*value))).collect();
    let Some(uri) = data_uri(width as u32, height as u32, &pixels) else { return String::new() };
    let axis = |which: &str, at: usize| {
        format!("{which} component ({} % of the variance)", decimal(100.0 * landscape.explained[at], 1))
    };
    let (x_name, y_name) = (axis("first", 0), axis("second", 1));
    let description =
        format!("{what} on the plane of two principal components, from {} to {} %", decimal(low, 1), decimal(high, 1));
    let id = format!("{}landscape-{id}", stage.id);
    let draw = |size: Size| {
        let size = size.with_aspect((y.1 - y.0) / (x.1 - x.0));
        let labels = Labels { id: &id, description: &description, x: &x_name, y: &y_name };
        let scales = (Scale::exactly(x.0, x.1, 5), Scale::exactly(y.0, y.1, 5));
        let mut frame = Frame::new(size, labels, scales.0, scales.1, false);
        frame.picture(x, y, &uri);
        for path in &landscape.paths {
            let points: Vec<(f64, f64)> = path.points.iter().map(|[x, y]| (*x, *y)).collect();
            frame.rimmed_line(stage.series(&path.name), &points);
        }
        for path in &landscape.paths {
            let series = stage.series(&path.name);
            for (at, [x, y]) in path.points.iter().enumerate() {
                let selected = at == path.selected;
                // Only the ends and the result: marks on every round would hide the ground.
                if selected || at == 0 || at + 1 == path.points.len() {
                    let place = if at == 0 { "start".to_owned() } else { format!("round {at}") };
                    let result = if selected { " (result)" } else { "" };
                    frame.mark(series, (*x, *y), selected, &format!("{}, {place}{result}", path.name));
                }
            }
        }
        frame.finish()
    };
    format!(
        "<figure><figcaption>{}</figcaption>\n{}{}</figure>\n",
        Escaped(what),
        SIZES.map(draw).concat(),
        color_bar(low, high)
    )
}

/// Edges of the cells around an even grid of at least two places.
fn extent(places: &[f64]) -> Option<(f64, f64)> {
    let (first, last) = (*places.first()?, *places.last()?);
    let half = (last - first) / (places.len() as f64 - 1.0) / 2.0;
    (half > 0.0 && half.is_finite()).then_some((first - half, last + half))
}

/// The colours with their accuracies.
fn color_bar(low: f64, high: f64) -> String {
    const STEPS: u32 = 64;
    let colors: Vec<Color> = (0..STEPS).map(|step| viridis((f64::from(step) + 0.5) / f64::from(STEPS))).collect();
    let uri = data_uri(STEPS, 1, &colors).unwrap_or_default();
    format!(
        "<p class=\"color-bar\"><span>{} %</span><img class=\"pixels\" alt=\"from dark to bright\" width=\"160\" height=\"12\" src=\"{uri}\"><span>{} %</span></p>\n",
        decimal(low, 1),
        decimal(high, 1)
    )
}

#[cfg(test)]
mod tests {
    use super::extent;

    #[test]
    fn cells_reach_half_a_step_beyond_their_centres() {
        assert_eq!(extent(&[-1.0, 0.0, 1.0, 2.0]), Some((-1.5, 2.5)));
        assert_eq!((extent(&[]), extent(&[1.0]), extent(&[f64::NAN, 2.0])), (None, None, None));
    }
}
