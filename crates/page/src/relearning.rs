//! How fast forgotten samples come back, and how far the weights went.

use rewind_job::{LinePoint, Measured, Relearned, Report};

use super::{
    chart::SMALL,
    plot::{Plot, mean_curve},
    retrains_start::RetrainsStart,
    stage::Stage,
    text::{NOTHING, name, with_half},
};
use rewind_comparison::Interval;

/// A name, and its network of each training seed.
pub type Networks<'a> = [(&'a str, Vec<&'a Measured>)];

pub fn of_job(stage: &Stage, report: &Report) -> String {
    let networks: Vec<(&str, Vec<&Measured>)> =
        report.measured().map(|measured| (measured.name.as_str(), vec![measured])).collect();
    relearning(stage, &networks) + &way(stage, &networks, RetrainsStart::of_job(report))
}

type Way = fn(&Relearned) -> &[f64];

pub fn relearning(stage: &Stage, networks: &Networks) -> String {
    let ways: [(&str, &str, Way); 2] = [
        ("relearning-remaining", "trained on the remaining data alone", |relearned| &relearned.from_remaining),
        ("relearning-some", "with a few of the forgotten samples", |relearned| &relearned.from_some),
    ];
    let (mut charts, mut tables) = (String::new(), String::new());
    for (id, caption, way) in ways {
        let of = |measured: &[&Measured]| -> Vec<Vec<f64>> {
            let relearned = measured.iter().filter_map(|measured| measured.relearning.as_ref());
            relearned.map(|relearned| way(relearned).to_vec()).filter(|curve| !curve.is_empty()).collect()
        };
        let curves: Vec<(&str, Vec<Vec<f64>>)> =
            networks.iter().map(|(name, measured)| (*name, of(measured))).filter(|(_, all)| !all.is_empty()).collect();
        let mean = |all: &[Vec<f64>]| {
            let all: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
            (0..).map(f64::from).zip(mean_curve(&all)).collect::<Vec<_>>()
        };
        let plot = Plot {
            id,
            description: "Accuracy on unread samples to forget over epochs of relearning, one line a network",
            x: "epoch",
            y: "accuracy on samples to forget, %",
            limits: (0.0, 100.0),
            places: 1,
            lines: curves.iter().map(|(name, all)| (*name, mean(all))).collect(),
            ..Plot::default()
        };
        let drawing = plot.draw(stage, SMALL);
        if drawing.is_empty() {
            continue;
        }
        charts.push_str(&format!("<figure><figcaption>{caption}</figcaption>\n{drawing}</figure>\n"));
        let rows: String = curves.iter().map(|(name, all)| row(stage, name, all)).collect();
        tables.push_str(&format!(
            r#"<div class="scroll" tabindex="0" role="region" aria-label="Relearning, {caption}"><table class="methods">
<thead><tr><th scope="col">{caption}</th><th scope="col">before</th><th scope="col">after one epoch</th><th scope="col">after the last</th></tr></thead>
<tbody>
{rows}</tbody></table></div>
"#
        ));
    }
    if charts.is_empty() {
        return String::new();
    }
    let drawn = networks.iter().filter(|(_, measured)| measured.iter().any(|measured| measured.relearning.is_some()));
    let body = format!(
        r#"<p>Each network was trained again for a few epochs, and asked after each for samples that it was to forget and that this training does not show it. What was only hidden comes back faster than in Retrain, which never knew it: the nearer a line to Retrain’s, the better.</p>
<div class="pair">
{charts}</div>
{legend}<details><summary>The same in figures</summary>
{tables}<p class="notes">Accuracy in percent, with the labels that were trained with. Mean over seeds ± half the 95 % interval.</p></details>
"#,
        legend = stage.legend(drawn.map(|(name, _)| *name), ""),
    );
    stage.section("Does it come back?", &body)
}

fn row(stage: &Stage, who: &str, all: &[Vec<f64>]) -> String {
    let before = cell(all.iter().map(|curve| curve.first().copied()), 1);
    let after_one = cell(all.iter().map(|curve| curve.get(1).copied()), 1);
    let after_last = cell(all.iter().map(|curve| curve.last().copied()), 1);
    let cells = before + &after_one + &after_last;
    labelled(stage, who, &cells)
}

fn labelled(stage: &Stage, who: &str, cells: &str) -> String {
    let (swatch, who) = (stage.series(who).swatch(), name(who));
    format!("<tr><th scope=\"row\"><div class=\"method\">{swatch}<span>{who}</span></div></th>{cells}</tr>\n")
}

fn cell(values: impl Iterator<Item = Option<f64>>, places: usize) -> String {
    let interval = values.collect::<Option<Vec<f64>>>().and_then(|values| Interval::of(&values));
    interval.map_or(format!("<td>{NOTHING}</td>"), |interval| format!("<td>{}</td>", with_half(interval, places)))
}

/// Distance from the network before unlearning, and losses on the straight line to it.
pub fn way(stage: &Stage, networks: &Networks, start: RetrainsStart) -> String {
    let walked: Vec<_> =
        networks.iter().filter(|(_, all)| all.iter().any(|measured| !measured.line.is_empty())).collect();
    let losses: [(&str, &str, Loss); 2] = [
        ("line-forget", "loss on the samples to forget", |point| Some(point.forget_loss)),
        ("line-test", "loss on test data", |point| point.test_loss),
    ];
    let mut charts = String::new();
    for (id, caption, loss) in losses {
        let mean = |all: &[&Measured]| -> Vec<(f64, f64)> {
            let losses: Vec<Vec<f64>> =
                all.iter().map(|measured| measured.line.iter().filter_map(loss).collect()).collect();
            let losses: Vec<&[f64]> = losses.iter().map(Vec::as_slice).collect();
            let shares = all.first().map(|measured| measured.line.as_slice()).unwrap_or_default();
            shares.iter().map(|point| point.share).zip(mean_curve(&losses)).collect()
        };
        let plot = Plot {
            id,
            description: "Cross-entropy on the straight line from the network before unlearning to the result",
            x: "share of the way",
            y: "cross-entropy, nats",
            limits: (0.0, f64::INFINITY),
            places: 3,
            lines: walked.iter().map(|(name, all)| (*name, mean(all))).collect(),
            ..Plot::default()
        };
        let drawing = plot.draw(stage, SMALL);
        if !drawing.is_empty() {
            charts.push_str(&format!("<figure><figcaption>{caption}</figcaption>\n{drawing}</figure>\n"));
        }
    }
    let measured = networks.iter().filter(|(_, all)| all.iter().any(|measured| measured.distance.is_some()));
    let rows: String = measured
        .map(|(name, all)| {
            let distance = cell(all.iter().map(|measured| measured.distance), 2);
            let barriers =
                losses.map(|(_, _, loss)| cell(all.iter().map(|measured| barrier(&measured.line, loss)), 3)).concat();
            labelled(stage, name, &(distance + &barriers))
        })
        .collect();
    if charts.is_empty() && rows.is_empty() {
        return String::new();
    }
    let legend = stage.legend(walked.iter().map(|(name, _)| *name), "");
    let drawn =
        if charts.is_empty() { String::new() } else { format!("<div class=\"pair\">\n{charts}</div>\n{legend}") };
    let table = format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="Distances"><table class="methods">
<thead><tr><th scope="col">network</th><th scope="col"><abbr title="Euclidean distance of the weights from the network before unlearning">distance</abbr></th><th scope="col"><abbr title="how far the loss on the samples to forget rises above the straight line between its ends, nats">barrier, to forget</abbr></th><th scope="col"><abbr title="the same for test data">barrier, test</abbr></th></tr></thead>
<tbody>
{rows}</tbody></table></div>
"#
    );
    let body = format!(
        "<p>How far the weights are from those before unlearning, and what lies on the straight way there. A way without a hill means that the result is a neighbour of the old network; a high barrier, that it is another solution.{}</p>\n{drawn}{}",
        start.words(),
        if rows.is_empty() { String::new() } else { table }
    );
    stage.section("How far the weights went", &body)
}

type Loss = fn(&LinePoint) -> Option<f64>;

/// How far the loss rises above the chord between the ends of the line (Frankle et al., 2020); none without two points.
fn barrier(line: &[LinePoint], loss: Loss) -> Option<f64> {
    let points: Vec<(f64, f64)> = line.iter().map(|point| Some((point.share, loss(point)?))).collect::<Option<_>>()?;
    let (first, last) = (points.first()?, points.last().filter(|_| points.len() > 1)?);
    let chord = |share: f64| first.1 + (last.1 - first.1) * (share - first.0) / (last.0 - first.0);
    points.iter().map(|(share, loss)| loss - chord(*share)).reduce(f64::max).filter(|barrier| barrier.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_the_rise_above_the_chord() {
        let point = |share, forget_loss| LinePoint { share, forget_loss, ..LinePoint::default() };
        // The chord is 1, 2, 3: the middle lies 3.5 − 2 above it.
        let line = [point(0.0, 1.0), point(0.5, 3.5), point(1.0, 3.0)];
        assert_eq!(barrier(&line, |point| Some(point.forget_loss)), Some(1.5));
        assert_eq!(barrier(&line, |point| point.test_loss), None);
        assert_eq!(barrier(&line[..1], |point| Some(point.forget_loss)), None);
    }
}
