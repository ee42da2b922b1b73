//! Curves: those of the first seed round by round, their mean over seeds, and what is read off them.

use rewind_job::Measured;

use super::{
    reading::{at, best},
    table::{Standing, rows},
};
use crate::{
    chart::LARGE,
    curves::{Form, Lines, forgetting, forms},
    plot::Plot,
    stage::Stage,
    text::{NOTHING, decimal, plural, with_half},
};
use rewind_comparison::{Compared, Interval, MethodResult, mean as mean_of};

/// Abscissae of the mean curve.
const STEPS: u32 = 60;

pub fn render(stage: &Stage, compared: &Compared) -> String {
    let Some(references) = compared.references.first() else { return String::new() };
    // The curves' names are the methods', not their settings'.
    let of_first_seed = |method: &MethodResult| {
        let run = method.runs.first()?;
        Some(Measured { name: method.name.clone(), ..run.measured.clone() })
    };
    let methods: Vec<Measured> = compared.methods.iter().filter_map(of_first_seed).collect();
    let forget = compared.comparison.base.get("data").and_then(|data| data.get("forget"));
    let forgets_everything = forget.and_then(toml::Value::as_str) == Some("everything");
    let lines = Lines {
        stage,
        pretrained: Some(&references.pretrained),
        retrain: references.retrain.as_ref(),
        methods: methods.iter().collect(),
    };
    forms(forgets_everything, &lines.methods)
        .into_iter()
        .map(|form| {
            let seed = references.training_seed;
            let further = [
                format!("<p class=\"notes\">Curves of training seed {seed}.</p>\n"),
                mean(stage, compared, form),
                readings(stage, compared, form),
            ];
            forgetting(&lines, form, &further.concat())
        })
        .collect()
}

type Path = Vec<(f64, f64)>;

/// The curve of each run, by training seed.
fn paths(seeds: &[Vec<&Measured>], form: &Form) -> Vec<Vec<Path>> {
    seeds.iter().map(|runs| runs.iter().map(|measured| form.path(measured)).collect()).collect()
}

/// Mean of a reading over the training seeds whose every run has it, and how many those are.
fn over_seeds(seeds: &[Vec<Path>], read: impl Fn(&[(f64, f64)]) -> Option<f64>) -> (Option<Interval>, usize) {
    let values: Vec<f64> = seeds.iter().filter_map(|paths| mean_of(paths.iter().map(|path| read(path)))).collect();
    (Interval::of(&values), values.len())
}

/// The mean over seeds, as far as all of them reach.
fn mean(stage: &Stage, compared: &Compared, form: &Form) -> String {
    if compared.references.len() < 2 {
        return String::new();
    }
    let runs = compared.methods.iter().flat_map(|method| &method.runs);
    let abscissae = || runs.clone().flat_map(|run| form.path(&run.measured)).map(|(x, _)| x);
    let low = abscissae().fold(form.window.1, f64::min).max(form.window.0);
    let high = abscissae().fold(form.window.0, f64::max).min(form.window.1);
    let place = |step: u32| low + (high - low) * f64::from(step) / f64::from(STEPS);
    let curve = |method: &MethodResult| -> Vec<(f64, f64)> {
        let paths = paths(&compared.by_seed(method), form);
        let value = |x: f64| match over_seeds(&paths, |path| at(path, x)) {
            (Some(mean), reached) if reached == paths.len() => Some((x, mean.mean)),
            _ => None,
        };
        (0..=STEPS).filter_map(|step| value(place(step))).collect()
    };
    let reference = |who: &str, measured: Vec<&Measured>| {
        let places: Vec<(f64, f64)> = measured.into_iter().filter_map(|measured| (form.place)(measured)).collect();
        let x = Interval::of(&places.iter().map(|place| place.0).collect::<Vec<_>>())?.mean;
        let y = Interval::of(&places.iter().map(|place| place.1).collect::<Vec<_>>())?.mean;
        let hint = format!("{who}: {} at {}", decimal(y, form.places), decimal(x, form.places));
        (x <= form.window.1).then_some(((x, y), hint))
    };
    let before = reference("before unlearning", compared.references.iter().map(|of| &of.pretrained).collect());
    let retrain = reference("Retrain", compared.references.iter().filter_map(|of| of.retrain.as_ref()).collect());
    let plot = Plot {
        id: &format!("mean-{}", form.id),
        description: "The mean over seeds of the curves, one line a method",
        x: form.x,
        y: form.y,
        limits: form.limits,
        places: form.places,
        lines: compared.methods.iter().map(|method| (method.name.as_str(), curve(method))).collect(),
        reversed: form.reversed,
        unmarked: true,
        references: [before, retrain].into_iter().flatten().collect(),
    };
    let drawing = plot.draw(stage, LARGE);
    if drawing.is_empty() {
        return String::new();
    }
    let seeds = plural(compared.references.len() as u64, "seed", "seeds");
    format!(
        "<figure><figcaption>Mean over {seeds}</figcaption>\n{drawing}{}</figure>\n<p class=\"notes\">Between rounds by linear interpolation; a line ends where one of its seeds does not reach.</p>\n",
        stage.legend(compared.methods.iter().map(|method| method.name.as_str()), "")
    )
}

/// The best on the way and the values at given abscissae, over seeds.
fn readings(stage: &Stage, compared: &Compared, form: &Form) -> String {
    let reaches = |x: f64| {
        let mut runs = compared.methods.iter().flat_map(|method| &method.runs);
        runs.any(|run| at(&form.path(&run.measured), x).is_some())
    };
    let abscissae: Vec<f64> = form.abscissae.iter().copied().filter(|x| reaches(*x)).collect();
    let places = if form.limits.1 == 100.0 { 0 } else { 1 };
    let heads: String =
        abscissae.iter().map(|x| format!("<th scope=\"col\">at {}{}</th>", decimal(*x, places), form.unit)).collect();
    let cell = |(interval, reached): (Option<Interval>, usize), seeds: usize| {
        let Some(interval) = interval else { return format!("<td>{NOTHING}</td>") };
        let some = if reached < seeds { format!("<small>{reached} of {seeds} seeds</small>") } else { String::new() };
        format!("<td>{}{some}</td>", with_half(interval, form.places))
    };
    let cells = |_: &str, group: &str, networks: &[Vec<&Measured>]| -> String {
        if group == "reference" {
            // References have no way: they stand where they are.
            let places: Vec<f64> =
                networks.iter().flatten().filter_map(|run| (form.place)(run)).map(|(_, y)| y).collect();
            let nothing = format!("<td>{NOTHING}</td>").repeat(abscissae.len());
            return cell((Interval::of(&places), places.len()), networks.len()) + &nothing;
        }
        let paths = paths(networks, form);
        let best = cell(over_seeds(&paths, |path| best(path, form.higher_is_better)), paths.len());
        best + &abscissae.iter().map(|x| cell(over_seeds(&paths, |path| at(path, *x)), paths.len())).collect::<String>()
    };
    format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="Read off the curves"><table class="methods">
<thead><tr><th scope="col">{y}</th><th scope="col"><abbr title="of all rounds, the start among them: an oracle’s choice, for test data chose it">best on the way</abbr></th>{heads}</tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="notes">Over seeds, ± half the 95 % interval. Columns “at”: where the {x} first is that. “Best on the way” is an <em>oracle</em> figure: test data chose the round.</p>
"#,
        y = form.y,
        x = form.x_plain,
        rows = rows(stage, compared, abscissae.len() + 2, |_| Standing::Other, cells),
    )
}
