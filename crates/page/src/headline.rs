//! What a reader who will read nothing else must know: asked, done, how close, what is not proven.

use rewind_job::{Action, Forget, Measured, Report, RollBack};

use super::{
    text::{count, decimal, name, percent, plural, seconds},
    verdict::first_sentence,
};

/// What steps of unlearning left; a step whose weights were given is a reference.
pub fn unlearned(report: &Report) -> Vec<&Measured> {
    report.methods.iter().filter(|measured| measured.group != "reference").collect()
}

/// The method that comes closest to Retrain; without that reference the one with the best test accuracy.
pub fn best(report: &Report) -> Option<&Measured> {
    let smallest = |key: fn(&Measured) -> Option<f64>| {
        unlearned(report)
            .into_iter()
            .filter_map(|method| key(method).filter(|value| value.is_finite()).map(|value| (value, method)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, method)| method)
    };
    smallest(|method| method.average_gap)
        .or_else(|| smallest(|method| method.ta.map(|ta| -ta)))
        .or_else(|| unlearned(report).first().copied())
}

pub fn render(report: &Report) -> String {
    format!(
        r#"<header>
<p class="eyebrow">Machine unlearning · report of {job}</p>
<h1>{title}</h1>
{verdict}<p class="lede">{asked} {done}</p>
<p class="lede">{close}</p>
<p class="caution"><strong>Not proven.</strong> {not_proven}</p>
</header>
{tiles}"#,
        job = name(&report.job),
        title = name(&report.specification.name),
        verdict = first_sentence(report),
        asked = asked(report),
        done = done(report),
        close = close(report),
        not_proven = not_proven(report),
        tiles = tiles(report),
    )
}

fn asked(report: &Report) -> String {
    let forget = count(report.data.forget);
    let training = report.data.remaining.map(|remaining| count(remaining + report.data.forget));
    let of = training.map_or(String::new(), |all| format!(" of its {all}"));
    match &report.specification.data.forget {
        Forget::LabelNoise { .. } => format!(
            "A trained network was to forget <strong>{forget}{of} training samples</strong>: those that had been taught with wrong labels."
        ),
        Forget::Backdoor(backdoor) => format!(
            "A trained network was to forget <strong>{forget}{of} training samples</strong>: those that carried a backdoor, a line at the left edge that makes anything a {}.",
            backdoor.label
        ),
        Forget::Random { .. } => {
            format!("A trained network was to forget <strong>{forget}{of} training samples</strong>, drawn at random.")
        }
        Forget::Class(class) => format!(
            "A trained network was to forget <strong>{forget}{of} training samples</strong>: all of class {}.",
            class.label
        ),
        Forget::Everything => {
            format!("A trained network was to forget <strong>all {forget} samples</strong> that it was trained on.")
        }
        Forget::Nothing => "Networks were trained.".into(),
        Forget::Files(_) => format!(
            "A trained network was to forget <strong>{forget} samples</strong>, which were handed over in files of their own."
        ),
    }
}

fn done(report: &Report) -> String {
    let workers = plural(report.world_size.0.into(), "worker", "workers");
    let all = unlearned(report);
    if all.is_empty() {
        return format!("No unlearning step ran; {workers} trained and measured the reference networks.");
    }
    let forget_only = all.iter().all(|method| method.group == "forget-only");
    let methods = match &all[..] {
        [only] => format!("The method {} was run on {workers}", name(&only.name)),
        several => format!("{} methods were run, one after another, on {workers}", in_words(several.len())),
    };
    let trained = match (forget_only, all.len()) {
        (true, 1) => ", trained on those samples alone",
        (true, _) => ", each trained on those samples alone",
        (false, _) => "; some of them trained on remaining data too, as the table says",
    };
    let chosen_on_validation = report
        .specification
        .steps
        .iter()
        .any(|step| matches!(&step.action, Action::Unlearn(unlearn) if unlearn.roll_back != RollBack::None));
    let validation = match report.data.validation {
        Some(samples) if chosen_on_validation => {
            format!("; which round to keep was chosen on {} other samples that were never trained on", count(samples))
        }
        _ => String::new(),
    };
    format!("{methods}{trained}{validation}.")
}

fn in_words(number: usize) -> String {
    let words = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"];
    words.get(number).map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

fn close(report: &Report) -> String {
    let Some(method) = best(report) else { return String::new() };
    let who = if unlearned(report).len() == 1 {
        "The result".to_owned()
    } else {
        format!("The closest, {},", name(&method.name))
    };
    let mut text = match (method.average_gap, &report.retrain) {
        (Some(gap), Some(_)) => {
            let before = report
                .pretrained
                .as_ref()
                .and_then(|pretrained| pretrained.average_gap)
                .map_or(String::new(), |gap| format!("; before unlearning it was {}", decimal(gap, 1)));
            format!(
                "{who} ends on average <strong>{} percentage points</strong> away from a network retrained without these samples{before}.",
                decimal(gap, 1)
            )
        }
        _ => "How close this comes to a network retrained without these samples <strong>was not measured</strong>: the job had no such network to compare with.".to_owned(),
    };
    if let Some(recovered) = report.recovered.iter().find(|recovered| recovered.name == method.name)
        && recovered.percent.is_finite()
    {
        text.push_str(&if recovered.percent > 0.0 {
            format!(
                " It wins back <strong>{} %</strong> of the test accuracy that retraining would gain.",
                decimal(recovered.percent.round(), 0)
            )
        } else {
            " It wins back nothing of the test accuracy that retraining would gain.".to_owned()
        });
    }
    text
}

fn not_proven(report: &Report) -> String {
    let mut text = "These are measurements of how the network behaves. They do not prove that no trace of the samples is left in its weights, nor that a stronger attack could not find one.".to_owned();
    let attack_is_weak = best(report)
        .and_then(|method| method.mia_attack_accuracy)
        .is_some_and(|accuracy| accuracy.is_finite() && (accuracy - 50.0).abs() < WEAK_ATTACK_POINTS);
    if attack_is_weak {
        text.push_str(" The membership attack used here (SVC, confidence) hardly tells members from others, so its figure says little.");
    }
    if best(report).is_some_and(|method| method.mia.is_none()) {
        let other =
            best(report).and_then(|method| method.loss_attack.as_ref()).is_some_and(|loss| loss.accuracy.is_some());
        text.push_str(if other {
            " The membership attack “SVC, confidence” was not run."
        } else {
            " No membership attack was run."
        });
    }
    text.push_str(" All figures come from one training seed.");
    text
}

type Figure = fn(&Measured) -> Option<f64>;

/// An attack whose balanced accuracy is nearer than this to a coin's says nothing.
pub const WEAK_ATTACK_POINTS: f64 = 5.0;

fn tiles(report: &Report) -> String {
    let Some(method) = best(report) else { return String::new() };
    let tile = |label: &str, figure: String, note: String| {
        format!(
            "<div class=\"tile\"><dt>{label}</dt><dd><span class=\"figure\">{figure}</span><span class=\"note\">{note}</span></dd></div>\n"
        )
    };
    let of = |measured: &Option<Measured>, figure: fn(&Measured) -> Option<f64>| {
        decimal(measured.as_ref().and_then(figure), 1)
    };
    let remembered: fn(&Measured) -> Option<f64> = |measured| measured.ua.map(|ua| 100.0 - ua);
    let recovered = report.recovered.iter().find(|recovered| recovered.name == method.name);
    let mut tiles = String::new();
    tiles.push_str(&tile(
        "Average gap to Retrain",
        decimal(method.average_gap, 1),
        format!("points; before unlearning {}", of(&report.pretrained, |measured| measured.average_gap)),
    ));
    tiles.push_str(&tile(
        "Test accuracy",
        percent(method.ta),
        format!(
            "before {} · Retrain {}",
            of(&report.pretrained, |measured| measured.ta),
            of(&report.retrain, |measured| measured.ta)
        ),
    ));
    tiles.push_str(&tile(
        "Accuracy on what was to be forgotten",
        percent(remembered(method)),
        format!("before {} · Retrain {}", of(&report.pretrained, remembered), of(&report.retrain, remembered)),
    ));
    let on_unseen: [(&str, Figure); 2] = [
        ("Accuracy on unseen samples of the class", |measured| measured.forgotten_class_accuracy),
        ("Unseen images on which the backdoor opens", |measured| measured.backdoor?.held_out),
    ];
    for (label, figure) in on_unseen {
        if figure(method).is_some() {
            let note = format!("before {} · Retrain {}", of(&report.pretrained, figure), of(&report.retrain, figure));
            tiles.push_str(&tile(label, percent(figure(method)), note));
        }
    }
    if let Some(recovered) = recovered {
        tiles.push_str(&tile(
            "Won back of Retrain’s gain",
            percent(recovered.percent),
            format!("best round on test data (oracle) {}", percent(recovered.oracle_percent)),
        ));
    }
    tiles.push_str(&tile(
        "Time",
        seconds(method.seconds),
        report.retrain.as_ref().map_or_else(
            || "no retraining to compare with".to_owned(),
            |retrain| format!("Retrain {}", seconds(retrain.seconds)),
        ),
    ));
    format!("<p class=\"about\">{} in figures</p>\n<dl class=\"tiles\">\n{tiles}</dl>\n", name(&method.name))
}
