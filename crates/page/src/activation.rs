//! What networks look at: each sample, and over it the activation map of each step.

use rewind_job::{ActivationMap, ActivationReport, Pictured};

use super::{
    picture::{Color, data_uri, mix},
    stage::Stage,
    text::{NOTHING, decimal, name},
};

/// Where a network looks; seen on black, on white and on grey.
const ATTENTION: Color = [0xff, 0x6a, 0x00];
/// How much of the picture a full activation hides.
const COVER: f64 = 0.8;

pub fn render(stage: &Stage, report: Option<&ActivationReport>) -> String {
    let Some(report) = report.filter(|report| !report.samples.is_empty()) else { return String::new() };
    let heads: String =
        report.steps.iter().map(|step| format!("<th scope=\"col\">{}</th>", name(&step.name))).collect();
    let mut rows = String::new();
    for (at, sample) in report.samples.iter().enumerate() {
        let pixels = colors(sample);
        let plain = pixels.as_deref().and_then(|pixels| picture(sample, pixels, &format!("sample {}", sample.id)));
        let cells: String = report
            .steps
            .iter()
            .map(|step| {
                let map = step.maps.get(at);
                let pixels = pixels.as_deref();
                map.zip(pixels).map_or_else(
                    || format!("<td>{NOTHING}</td>"),
                    |(map, pixels)| cell(sample, pixels, map, &step.name),
                )
            })
            .collect();
        let truth = if sample.truth == sample.label {
            String::new()
        } else {
            format!("<small>really {}</small>", sample.truth)
        };
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}<small>sample {}</small><small>label {}</small>{truth}</th>{cells}</tr>\n",
            plain.unwrap_or_default(),
            sample.id,
            sample.label
        ));
    }
    let body = format!(
        r#"<p>Each row is a sample that was to be forgotten. Orange marks where a network finds what speaks for the label it was taught; below stands what the network answers, and how probable it holds the taught label. If what was to be forgotten is a mark in the picture, a network that has forgotten it does not look there.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Activation maps"><table class="maps">
<thead><tr><th scope="col">sample</th>{heads}</tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="notes">Grad-CAM maps of the last convolution (Selvaraju et al., 2017), each scaled by its own largest value: they show where a network looks, not how much it sees there.</p>
"#
    );
    stage.section("What the networks look at", &body)
}

fn cell(sample: &Pictured, pixels: &[Color], map: &ActivationMap, step: &str) -> String {
    let probability = decimal(100.0 * map.probability, if map.probability < 0.0995 { 1 } else { 0 });
    let said = format!("answers {}, probability of label {} is {probability} %", map.answer, sample.label);
    let drawn = overlaid(sample, pixels, map)
        .and_then(|overlaid| picture(sample, &overlaid, &format!("{step} on sample {}: {said}", sample.id)));
    format!(
        "<td>{}<span class=\"caption\">says <strong>{}</strong><small>label: {probability} %</small></span></td>",
        drawn.unwrap_or_else(|| NOTHING.to_owned()),
        map.answer
    )
}

fn picture(sample: &Pictured, pixels: &[Color], alternative: &str) -> Option<String> {
    let [_, height, width] = sample.shape;
    let uri = data_uri(width, height, pixels)?;
    Some(format!(
        "<img class=\"pixels\" width=\"84\" height=\"{:.0}\" alt=\"{}\" src=\"{uri}\">",
        84.0 * f64::from(height) / f64::from(width),
        super::text::Escaped(alternative)
    ))
}

/// Row by row; grey of one channel, colours of three. None if the pixels do not fill the shape.
fn colors(sample: &Pictured) -> Option<Vec<Color>> {
    let [channels, height, width] = sample.shape;
    let plane = usize::try_from(u64::from(height) * u64::from(width)).ok().filter(|plane| *plane > 0)?;
    if !matches!(channels, 1 | 3) || sample.pixels.len() != plane.checked_mul(channels as usize)? {
        return None;
    }
    let channel = |index: usize, at: usize| sample.pixels[index.min(channels as usize - 1) * plane + at];
    Some((0..plane).map(|at| [channel(0, at), channel(1, at), channel(2, at)]).collect())
}

/// The map over the picture, spread over it with linear interpolation.
fn overlaid(sample: &Pictured, pixels: &[Color], map: &ActivationMap) -> Option<Vec<Color>> {
    let [rows, columns] = map.shape.map(|side| side as usize);
    let [_, height, width] = sample.shape.map(|side| side as usize);
    if rows == 0 || columns == 0 || map.values.len() != rows.checked_mul(columns)? {
        return None;
    }
    let shade = |at: usize| {
        let row = place(at / width, height, rows);
        let column = place(at % width, width, columns);
        let value = |row: usize, column: usize| f64::from(map.values[row * columns + column]) / 255.0;
        let along = |row: usize| value(row, column.0) * (1.0 - column.2) + value(row, column.1) * column.2;
        along(row.0) * (1.0 - row.2) + along(row.1) * row.2
    };
    Some(pixels.iter().enumerate().map(|(at, below)| mix(*below, ATTENTION, COVER * shade(at))).collect())
}

/// The two cells around the centre of a pixel, and the share of the second.
fn place(pixel: usize, pixels: usize, cells: usize) -> (usize, usize, f64) {
    let centre = (pixel as f64 + 0.5) * cells as f64 / pixels as f64 - 0.5;
    let centre = centre.clamp(0.0, cells as f64 - 1.0);
    let first = centre.floor() as usize;
    (first, (first + 1).min(cells - 1), centre - first as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_spread_evenly_over_its_picture() {
        // Four pixels over two cells: centres at −0.25, 0.25, 0.75 and 1.25 of a cell, the ends held.
        assert_eq!(
            [0, 1, 2, 3].map(|pixel| place(pixel, 4, 2)),
            [(0, 1, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.0)]
        );
    }

    #[test]
    fn attention_covers_what_it_looks_at_alone() {
        let sample = Pictured { shape: [1, 1, 2], pixels: vec![0, 200], ..Pictured::default() };
        let pixels = colors(&sample).unwrap();
        assert_eq!(pixels, [[0, 0, 0], [200, 200, 200]]);
        let map = ActivationMap { shape: [1, 2], values: vec![255, 0], ..ActivationMap::default() };
        // 0.8 of (255, 106, 0) over black.
        assert_eq!(overlaid(&sample, &pixels, &map).unwrap(), [[204, 85, 0], [200, 200, 200]]);
    }

    #[test]
    fn pictures_that_are_damaged_are_not_drawn() {
        let sample = Pictured { shape: [2, 4, 4], pixels: vec![0; 32], ..Pictured::default() };
        assert_eq!(colors(&sample), None, "two channels are no colour");
        let sample = Pictured { shape: [3, u32::MAX, u32::MAX], pixels: vec![0; 3], ..Pictured::default() };
        assert_eq!(colors(&sample), None);
    }
}
