//! The curves: test accuracy while the forgotten labels fade, and what each round did.

use rewind_job::{CurvePoint, Figure, Forget, Measured, Report, RoundRecord};

use super::{
    chart::{Frame, LARGE, Labels, SMALL, Scale, Size},
    stage::Stage,
    text::decimal,
};

const PERCENT: (f64, f64) = (0.0, 100.0);
/// Cross-entropies beyond this many nats are further than chance among ten classes (2.3): they are not looked at closely.
const FAR: f64 = 4.0;

/// What is drawn: one line a method, and crosses for the references.
pub struct Lines<'a> {
    pub stage: &'a Stage,
    pub pretrained: Option<&'a Measured>,
    pub retrain: Option<&'a Measured>,
    pub methods: Vec<&'a Measured>,
}

impl Lines<'_> {
    fn references(&self) -> impl Iterator<Item = &Measured> {
        [self.pretrained, self.retrain].into_iter().flatten()
    }

    fn methods(&self) -> impl Iterator<Item = &Measured> {
        self.methods.iter().copied()
    }
}

/// Which figures a curve is drawn from, and what it says.
pub struct Form {
    /// Ends the ids of its charts.
    pub id: &'static str,
    title: &'static str,
    explained: &'static str,
    pub x: &'static str,
    /// The abscissa within a sentence.
    pub x_plain: &'static str,
    pub y: &'static str,
    pub unit: &'static str,
    pub places: usize,
    pub limits: (f64, f64),
    /// Abscissae that matter, and those at which curves are read.
    pub window: (f64, f64),
    pub abscissae: &'static [f64],
    /// Large abscissae left.
    pub reversed: bool,
    pub higher_is_better: bool,
    point: fn(&CurvePoint) -> Option<(f64, f64)>,
    /// Where a network without rounds stands.
    pub place: fn(&Measured) -> Option<(f64, f64)>,
}

impl Form {
    /// The rounds of a method, as far as they are numbers.
    pub fn path(&self, measured: &Measured) -> Vec<(f64, f64)> {
        measured.curve.iter().filter_map(self.point).filter(is_finite).collect()
    }

    fn place(&self, measured: &Measured) -> Option<(f64, f64)> {
        (self.place)(measured).filter(is_finite)
    }
}

fn is_finite((x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

static TEST: Form = Form {
    id: "forgetting",
    title: "Forgetting, and what it does to everything else",
    explained: "Each line is one method, round by round. It starts at the trained network on the left, where the samples to forget are still remembered, and moves right as they fade. Higher is better: the network works better on images it has never seen.",
    x: "accuracy on the samples to forget, %  →  forgotten",
    x_plain: "accuracy on the samples to forget",
    y: "test accuracy, %",
    unit: " %",
    places: 1,
    limits: PERCENT,
    window: PERCENT,
    abscissae: &[80.0, 60.0, 20.0],
    reversed: true,
    higher_is_better: true,
    point: |point| Some((point.forget_accuracy, point.test_accuracy?)),
    place: |measured| Some((100.0 - measured.ua?, measured.ta?)),
};

static TRUE_LABELS: Form = Form {
    id: "true-labels",
    title: "Do the samples get their true labels back?",
    explained: "The samples to forget were taught with labels that are not theirs. Each line is one method, round by round, from left to right as the taught labels fade. Higher is better: the network gives more of these samples the labels they really have, which it was never told.",
    y: "accuracy with true labels, %",
    point: |point| Some((point.forget_accuracy, point.clean_accuracy?)),
    place: |measured| Some((100.0 - measured.ua?, measured.clean?)),
    ..TEST
};

static CLASS: Form = Form {
    id: "class",
    title: "Is the class gone from unseen images, too?",
    explained: "Each line is one method, round by round, from left to right as the samples to forget fade. It is asked for unseen images of their class, which are in no other figure. Lower is better: Retrain, which was never taught the class, is the mark.",
    y: "accuracy on held-out samples of the class, %",
    higher_is_better: false,
    point: |point| Some((point.forget_accuracy, point.forgotten_class_accuracy?)),
    place: |measured| Some((100.0 - measured.ua?, measured.forgotten_class_accuracy?)),
    ..TEST
};

static TRIGGER: Form = Form {
    id: "trigger",
    title: "Does the backdoor open on unseen images?",
    explained: "Each line is one method, round by round, from left to right as the samples to forget lose the label of the backdoor. The trigger is drawn on unseen images of other classes. Lower is better: fewer of them get the label of the backdoor.",
    y: "unseen images with the trigger that open it, %",
    higher_is_better: false,
    point: |point| Some((point.forget_accuracy, point.backdoor_held_out?)),
    place: |measured| Some((100.0 - measured.ua?, measured.backdoor?.held_out?)),
    ..TEST
};

static LOSS: Form = Form {
    id: "losses",
    title: "Undoing overfitting",
    explained: "Each line is one method, round by round. It starts at the trained network on the left, which knows its training data by heart, and moves right as that fades. Lower is better: the network errs less on data it has never seen.",
    x: "cross-entropy on the samples to forget  →  forgotten",
    x_plain: "cross-entropy on the samples to forget",
    y: "test cross-entropy, nats",
    unit: "",
    places: 2,
    limits: (0.0, f64::INFINITY),
    window: (0.0, FAR),
    abscissae: &[1.5],
    reversed: false,
    higher_is_better: false,
    point: |point| Some((point.forget_loss?, point.test_loss?)),
    place: |measured| Some((measured.forget_loss?, measured.test_loss?)),
};

/// The curves that the data allow: losses where everything is forgotten, else test accuracy, accuracy with true labels
/// where the taught ones are others, and what is left on unseen images of a class or of a backdoor.
pub fn forms(forgets_everything: bool, methods: &[&Measured]) -> Vec<&'static Form> {
    let is_there = |form: &&Form| methods.iter().any(|method| !form.path(method).is_empty());
    if forgets_everything && is_there(&&LOSS) {
        return vec![&LOSS];
    }
    [&TEST, &TRUE_LABELS, &CLASS, &TRIGGER].into_iter().filter(is_there).collect()
}

pub fn render(stage: &Stage, report: &Report) -> String {
    let lines = Lines {
        stage,
        pretrained: report.pretrained.as_ref(),
        retrain: report.retrain.as_ref(),
        methods: report.methods.iter().collect(),
    };
    let forms = forms(report.specification.data.forget == Forget::Everything, &lines.methods);
    let mut page: String = forms.into_iter().map(|form| forgetting(&lines, form, "")).collect();
    if report.methods.iter().any(|method| !method.rounds.is_empty()) {
        page.push_str(&rounds(&lines));
    }
    page
}

/// One chart; `further` follows it in its section.
pub fn forgetting(lines: &Lines, form: &Form, further: &str) -> String {
    let places = || lines.references().filter_map(|measured| form.place(measured));
    let all = || lines.methods().flat_map(|method| form.path(method)).chain(places());
    let values = || all().map(|(_, y)| y);
    // The part of the frame where methods can be told apart: the references and the best point of each.
    let better = if form.higher_is_better { f64::max } else { f64::min };
    let best = lines.methods().filter_map(|method| form.path(method).into_iter().map(|(_, y)| y).reduce(better));
    let notable = places().map(|(_, y)| y).chain(best);
    let whole = if form.limits == PERCENT { Scale::covering } else { Scale::covering_finely }(values(), form.limits, 5);
    let close_up = match (form.higher_is_better, form.limits == PERCENT) {
        (true, _) => close_up(notable, values()),
        (false, false) => close_below(notable, values()),
        (false, true) => None,
    };
    let far = if form.limits == PERCENT { 100.0 } else { FAR };
    let is_cut = close_up.is_some() || all().any(|(x, _)| x > far);
    let draw =
        |id: &str, far: f64, y: Scale| -> String { LARGE.map(|size| chart(lines, form, size, id, far, y)).concat() };
    let range = if is_cut {
        format!(
            "<p class=\"notes\">Lines that leave the frame go on outside.</p>\n<details><summary>The same over the whole range</summary>\n{}</details>\n",
            draw(&format!("{}-whole", form.id), f64::INFINITY, whole)
        )
    } else {
        String::new()
    };
    let body = format!(
        r#"<p>{explained} A ring marks the round that was kept.</p>
<figure>
{chart}{legend}</figure>
{range}{further}<p class="notes">Measured after the job had made every choice, on test data that no choice has read.</p>
"#,
        explained = form.explained,
        chart = draw(form.id, far, close_up.unwrap_or(whole)),
        legend = legend(lines, true),
    );
    lines.stage.section(form.title, &body)
}

fn chart(lines: &Lines, form: &Form, size: Size, id: &str, far: f64, y: Scale) -> String {
    let all = lines.methods().flat_map(|method| form.path(method));
    let xs = all.chain(lines.references().filter_map(|measured| form.place(measured))).map(|(x, _)| x.min(far));
    let ticks = if size.width > 500.0 { 10 } else { 5 };
    let x = if form.limits == PERCENT { Scale::covering } else { Scale::covering_finely }(xs, form.limits, ticks);
    let description = format!("{} over {}, one line a method", form.y, form.x_plain);
    let id = format!("{}{id}", lines.stage.id);
    let labels = Labels { id: &id, description: &description, x: form.x, y: form.y };
    let mut frame = Frame::new(size, labels, x, y, form.reversed);
    let of = |measured: Option<&Measured>| measured.and_then(|measured| form.place(measured));
    let (retrain, pretrained) = (of(lines.retrain), of(lines.pretrained));
    let retrain_is_above = !matches!((retrain, pretrained), (Some(after), Some(before)) if after.1 < before.1);
    // Below a level at the foot of the frame there is no room; what lies far apart needs none.
    let far_apart =
        form.limits == PERCENT && matches!((retrain, pretrained), (Some(a), Some(b)) if (a.1 - b.1).abs() > 15.0);
    if let Some((x, y)) = retrain {
        frame.level(y, &format!("Retrain {}", decimal(y, form.places)), retrain_is_above || far_apart, Some(x));
    }
    if let Some((x, y)) = pretrained {
        let is_above = !retrain_is_above || far_apart;
        frame.level(y, &format!("before unlearning {}", decimal(y, form.places)), is_above, Some(x));
    }
    for method in lines.methods() {
        frame.line(lines.stage.series(&method.name), &form.path(method), true);
    }
    let said = |(x, y): (f64, f64)| {
        let (x, y) = (decimal(x, form.places), decimal(y, form.places));
        format!("{} {y}, {} {x}{}", form.y.trim_end_matches(", %"), form.x_plain, form.unit)
    };
    for method in lines.methods() {
        for point in &method.curve {
            let Some(place) = (form.point)(point) else { continue };
            let selected = point.round == method.selected;
            let hint = format!(
                "{}, {}{}: {}",
                method.name,
                if point.round.0 == 0 { "start".to_owned() } else { format!("round {}", point.round) },
                if selected { " (kept)" } else { "" },
                said(place),
            );
            frame.mark(lines.stage.series(&method.name), place, selected, &hint);
        }
    }
    for (what, measured) in [("before unlearning", lines.pretrained), ("Retrain", lines.retrain)] {
        let Some(measured) = measured else { continue };
        if let Some(place) = form.place(measured) {
            frame.reference(place, &format!("{what} ({}): {}", measured.name, said(place)));
        }
    }
    frame.finish()
}

fn rounds(lines: &Lines) -> String {
    let validation = per_round(lines, "validation", "validation accuracy, %", true, |record| {
        record.number(Figure::VALIDATION_ACCURACY)
    });
    let forget = per_round(lines, "fading", "accuracy on the samples to forget, %", false, |record| {
        record.number(Figure::FORGET_ACCURACY)
    });
    if validation.is_empty() && forget.is_empty() {
        return String::new();
    }
    let body = format!(
        r#"<p>What the job itself could see while it ran: validation data on which it chooses, and the samples to forget.</p>
<div class="pair">
{validation}{forget}</div>
{legend}"#,
        legend = legend(lines, false),
    );
    lines.stage.section("Round by round", &body)
}

fn per_round(
    lines: &Lines,
    id: &str,
    label: &str,
    higher_is_better: bool,
    figure: fn(&RoundRecord) -> Option<f64>,
) -> String {
    let line = |method: &Measured| -> Vec<(f64, f64)> {
        method
            .rounds
            .iter()
            .filter_map(|record| figure(record).map(|value| (f64::from(record.round.0), value)))
            .filter(|(_, value)| value.is_finite())
            .collect()
    };
    let all: Vec<(f64, f64)> = lines.methods().flat_map(line).collect();
    if all.is_empty() {
        return String::new();
    }
    let description = format!("{label} over rounds, one line a method");
    let chart = SMALL.map(|size| {
        let labels = Labels { id, description: &description, x: "round", y: label };
        let x = Scale::covering(all.iter().map(|point| point.0).chain([0.0]), (0.0, f64::INFINITY), 6);
        let values = || all.iter().map(|point| point.1);
        let firsts = lines.methods().filter_map(|method| line(method).first().map(|point| point.1));
        let best = lines.methods().filter_map(|m| line(m).into_iter().map(|point| point.1).reduce(f64::max));
        let y = close_up(firsts.chain(best), values()).filter(|_| higher_is_better);
        let y = y.unwrap_or_else(|| Scale::covering(values(), PERCENT, 5));
        let mut frame = Frame::new(size, labels, x, y, false);
        for method in lines.methods() {
            frame.line(lines.stage.series(&method.name), &line(method), false);
        }
        for method in lines.methods() {
            for (round, value) in line(method) {
                let selected = round == f64::from(method.selected.0);
                let kept = if selected { " (kept)" } else { "" };
                let hint = format!("{}, round {}{kept}: {} %", method.name, decimal(round, 0), decimal(value, 1));
                frame.mark(lines.stage.series(&method.name), (round, value), selected, &hint);
            }
        }
        frame.finish()
    });
    format!("<figure>\n{}</figure>\n", chart.concat())
}

fn legend(lines: &Lines, references: bool) -> String {
    let mut further = String::new();
    if references && (lines.pretrained.is_some() || lines.retrain.is_some()) {
        further.push_str("<li><svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><path class=\"cross\" d=\"M12 3L22 13M12 13L22 3\"/></svg>before unlearning, Retrain</li>\n");
    }
    further.push_str("<li><svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><circle class=\"ring plain\" cx=\"17\" cy=\"8\" r=\"6.5\"/></svg>round that was kept</li>\n");
    lines.stage.legend(lines.methods().map(|method| method.name.as_str()), &further)
}

/// A scale around the notable values, if others lie so far below that they would squeeze these together.
fn close_up(notable: impl IntoIterator<Item = f64>, all: impl IntoIterator<Item = f64>) -> Option<Scale> {
    let (low, high) = span(notable);
    let floor = low - 0.5 * (high - low).max(4.0);
    (span(all).0 < floor - 3.0).then(|| Scale::covering([floor, high], PERCENT, 5))
}

/// The same for losses: others lie far above.
fn close_below(notable: impl IntoIterator<Item = f64>, all: impl IntoIterator<Item = f64>) -> Option<Scale> {
    let (low, high) = span(notable);
    let ceiling = high + 0.5 * (high - low).max(0.5);
    let is_far = span(all).1 > ceiling + 0.5 * (high - low).max(0.5);
    is_far.then(|| Scale::covering_finely([low, ceiling], (0.0, f64::INFINITY), 5))
}

fn span(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}
