//! What else shows whether something is left: the class on unseen images, the trigger, the attack on losses.

use rewind_job::{Forget, LossAttack, Measured, Report};

use super::{
    chart::Series,
    text::{Escaped, NOTHING, count, decimal, list, name},
};

type Figure = fn(&Measured) -> Option<f64>;

const FIGURES: [(&str, &str, Figure); 4] = [
    (
        "class, held-out",
        "accuracy on held-out samples of the class to forget, %; the aim is Retrain’s value",
        |measured| measured.forgotten_class_accuracy,
    ),
    (
        "backdoor, forget data",
        "share of the forget data that get the label of the backdoor, which they were taught with, %",
        |measured| Some(measured.backdoor?.forget),
    ),
    (
        "backdoor, held-out",
        "share of unseen images of other classes that get the label of the backdoor when the trigger is drawn on them, %",
        |measured| measured.backdoor?.held_out,
    ),
    (
        "MIA: logistic, loss",
        "how often a logistic regression on losses tells the forget data from held-out samples of the same classes, %",
        |measured| measured.loss_attack.as_ref()?.accuracy,
    ),
];

/// None of these figures is in reports of version 0.1.
pub fn render(report: &Report) -> String {
    let is_there =
        |(_, _, figure): &&(&str, &str, Figure)| report.measured().any(|measured| figure(measured).is_some());
    let figures: Vec<_> = FIGURES.iter().filter(is_there).collect();
    let reasons = reasons(report);
    if figures.is_empty() && reasons.is_empty() {
        return String::new();
    }
    let heads: String = figures
        .iter()
        .map(|(short, long, _)| format!("<th scope=\"col\"><abbr title=\"{long}\">{short}</abbr></th>"))
        .collect();
    let references = [&report.pretrained, &report.retrain].into_iter().flatten().map(|measured| (measured, None));
    let methods = (0..).zip(&report.methods).map(|(index, measured)| (measured, Some(index)));
    let rows: String = references
        .chain(methods)
        .map(|(measured, series)| {
            let cells: String = figures.iter().map(|(_, _, figure)| cell(figure(measured))).collect();
            format!(
                "<tr class=\"{}\"><th scope=\"row\"><div class=\"method\">{}<span>{}</span></div></th>{cells}</tr>\n",
                if series.is_none() { "reference" } else { "plain" },
                series.map_or(String::new(), |index| Series(index).swatch()),
                name(&measured.name),
            )
        })
        .collect();
    let table = format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="What is left"><table class="methods">
<thead><tr><th scope="col">method</th>{heads}</tr></thead>
<tbody>
{rows}</tbody></table></div>
"#
    );
    format!(
        "<section>\n<h2>What is left of it</h2>\n{}<p class=\"notes\">{}</p>\n</section>\n",
        if figures.is_empty() { String::new() } else { table },
        [of_class(report), of_backdoor(report), of_losses(report), reasons].concat()
    )
}

fn cell(figure: Option<f64>) -> String {
    format!("<td>{}</td>", figure.map_or_else(|| NOTHING.to_owned(), |figure| decimal(figure, 1)))
}

fn of_class(report: &Report) -> String {
    let Some(apart) = &report.data.class_apart else { return String::new() };
    format!(
        "Held-out samples of class {} have left test, validation and attack data, so that no other figure and no choice \
         rewards a network for knowing the class still: {} of them, of the test part, stand here alone. Retrain, which was \
         never taught the class, is the mark. ",
        apart.label,
        count(apart.test)
    )
}

fn of_backdoor(report: &Report) -> String {
    let Some(triggered) = report.data.triggered else { return String::new() };
    format!(
        "Success of the backdoor is told twice: on the forget data, which the network was trained on, and on {} test images \
         of other classes on which the trigger was drawn, as BadNets defines it (Gu et al., 2017). A method that only \
         unlearns the pictures leaves the second. ",
        count(triggered)
    )
}

fn of_losses(report: &Report) -> String {
    let attacks = || report.measured().filter_map(|measured| measured.loss_attack.as_ref());
    let measured = || attacks().filter(|attack| attack.accuracy.is_some()).map(|attack| attack.samples);
    let Some(samples) = measured().max() else { return String::new() };
    let aim = match report.specification.data.forget {
        Forget::LabelNoise { .. } | Forget::Backdoor(_) => {
            "here the forget data were taught with labels that are not theirs, and unseen samples have their own: not 50 \
             but Retrain’s value is the aim"
        }
        _ => "50 %, guessing, is the best",
    };
    format!(
        "“Logistic, loss” is the membership attack of SCRUB (Kurmanji et al., 2023): a logistic regression on the loss, in \
         five folds, of {} samples to forget and as many held-out ones of the same classes; {aim}. ",
        count(samples)
    )
}

/// Why the attack on losses has no figure, each reason once.
fn reasons(report: &Report) -> String {
    let reason = |attack: &LossAttack| attack.reason.clone();
    let mut reasons: Vec<String> =
        report.measured().filter_map(|measured| measured.loss_attack.as_ref().and_then(reason)).collect();
    reasons.sort_unstable();
    reasons.dedup();
    if reasons.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> = reasons.iter().map(|reason| Escaped(reason).to_string()).collect();
    format!("The membership attack “logistic, loss” was not measured: {}. ", list(&reasons))
}

#[cfg(test)]
mod tests {
    use rewind_job::{BackdoorSuccess, ClassApart};

    use super::*;
    use crate::{
        draw_report as page,
        samples::{assert_balanced, sample_report},
    };

    fn with(change: impl Fn(&mut Measured)) -> Report {
        let mut report = sample_report();
        report.pretrained.iter_mut().chain(&mut report.retrain).chain(&mut report.methods).for_each(change);
        report
    }

    #[test]
    fn reports_of_version_0_1_have_no_such_section() {
        assert_eq!(render(&sample_report()), "");
        assert!(!page(&sample_report()).contains("What is left of it"));
    }

    #[test]
    fn a_forgotten_class_stands_alone_and_its_samples_are_counted() {
        let mut report = with(|measured| measured.forgotten_class_accuracy = Some(98.25));
        report.data.class_apart = Some(ClassApart { label: 3, test: 49, validation: 24, attack: 25 });
        let page = page(&report);
        assert!(page.contains("class, held-out</abbr>") && page.contains("<td>98.2</td>"));
        assert!(page.contains("of class 3 have left test") && page.contains("49 of them"));
        assert!(page.contains("<dt>validation, class 3 apart</dt><dd>24</dd>"));
        assert!(!page.contains("backdoor, held-out"));
        assert_balanced(&page);
    }

    #[test]
    fn a_backdoor_is_told_twice() {
        let success = BackdoorSuccess { forget: 3.5, held_out: Some(61.75) };
        let mut report = with(|measured| measured.backdoor = Some(success));
        report.data.triggered = Some(450);
        let page = page(&report);
        assert!(page.contains("<td>3.5</td><td>61.8</td>"));
        assert!(page.contains("on 450 test images of other classes"));
    }

    #[test]
    fn an_attack_that_was_not_measured_says_why() {
        let attack = |accuracy, reason: Option<&str>| {
            Some(LossAttack { accuracy, samples: 120, reason: reason.map(str::to_owned) })
        };
        let measured = page(&with(|measured| measured.loss_attack = attack(Some(52.25), None)));
        assert!(measured.contains("MIA: logistic, loss</abbr>") && measured.contains("<td>52.2</td>"));
        // The sample forgets wrong labels.
        assert!(measured.contains("of 120 samples to forget") && measured.contains("but Retrain’s value is the aim"));
        let none = page(&with(|measured| measured.loss_attack = attack(None, Some("<3 are too few"))));
        assert!(none.contains("was not measured: &lt;3 are too few."));
        assert!(!none.contains("MIA: logistic, loss</abbr>"));
    }
}
