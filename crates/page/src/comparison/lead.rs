//! For readers who read nothing else: what was asked, done and found, and what is not proven.

use super::{
    ranking::{Measure, Ranked, fell_short, has_forgotten, rank},
    table::GROUPS,
};
use crate::text::{Escaped, decimal, list, name, plural, with_half};
use rewind_comparison::{Compared, Interval, mean_over};

/// Below this balanced accuracy, percent, the membership attack says little.
const WEAK_ATTACK: f64 = 55.0;

/// Words that the page uses, each explained once.
pub fn words() -> String {
    let words = [
        (
            "Retrain",
            "the yardstick: a network trained from the beginning without the samples to forget. A method is good that ends where Retrain ends, at a fraction of its cost.",
        ),
        (
            "Samples to forget (D<sub>f</sub>)",
            "those that the trained network is to be rid of. The remaining data (D<sub>r</sub>) are all others that it was trained on.",
        ),
        (
            "Forget-only, retain-using",
            "methods that need nothing but the samples to forget, and methods that need remaining training data too. They are compared apart: the second are given more.",
        ),
        (
            "Seed",
            "training begins from chance. Each experiment is repeated with other chances (seeds); a figure is their mean, and the figure after ± says how far the true mean may lie from it (95 % interval).",
        ),
        (
            "Not told apart",
            "two methods are compared on the same networks, one by one. If the differences could as well be chance, neither is called better.",
        ),
        ("Point", "percentage point: from 90 % to 92 % are two."),
    ];
    let words: String = words.map(|(word, meaning)| format!("<div><dt>{word}</dt><dd>{meaning}</dd></div>\n")).concat();
    format!("<details open><summary>Words</summary>\n<dl class=\"words-list\">\n{words}</dl></details>\n")
}

pub fn render(compared: &Compared) -> String {
    format!(
        "<p class=\"lede\"><strong>Asked.</strong> {}</p>\n<p><strong>Done.</strong> {}</p>\n{}<div class=\"caution\"><p><strong>Not proven.</strong></p>\n<ul>\n{}</ul></div>\n",
        Escaped(&compared.comparison.question),
        done(compared),
        found(compared),
        not_proven(compared)
    )
}

fn done(compared: &Compared) -> String {
    let comparison = &compared.comparison;
    let stop = if comparison.stop_at_retrains_ua {
        " Each method stopped at the first round that forgot as much as Retrain, or after its last round; the round that reached it was shortened to what was needed."
    } else {
        ""
    };
    let again = match comparison.unlearning_seeds.len() {
        0 | 1 => String::new(),
        several => format!(", {several} times each"),
    };
    format!(
        "{networks} trained; then {methods} had each of them forget{again}. Before that, each method tried {tries} on a network of its own, and kept the one with {by}.{stop}",
        networks = plural(comparison.training_seeds.len() as u64, "network was", "networks were"),
        methods = plural(compared.methods.len() as u64, "method", "methods"),
        tries = plural(comparison.tries as u64, "setting", "settings"),
        by = comparison.choose_by.words(),
    )
}

fn found(compared: &Compared) -> String {
    let headline = Measure::headline(compared);
    let rankings = GROUPS.map(|group| rank(compared, group, headline));
    let improved = |ranking: &Vec<Ranked>| headline.improves(compared, ranking.first()?.mean.mean);
    let none_improved = rankings.iter().filter_map(improved).all(|improved| !improved);
    let mut paragraphs = Vec::new();
    for (group, ranking) in GROUPS.into_iter().zip(&rankings) {
        let mut sentences = Vec::new();
        let who = match group {
            "forget-only" => "Of the methods that are given nothing but the samples to forget",
            _ => "Of those that are given remaining training data too",
        };
        if let Some(sentence) = best_of(ranking, who, headline) {
            sentences.push(sentence);
        }
        if !none_improved && improved(ranking) == Some(false) {
            sentences.push("<strong>None of them improved on the network before unlearning.</strong>".to_owned());
        }
        let failed: Vec<String> = compared
            .methods
            .iter()
            .filter(|method| headline != Measure::Gap && method.group == group && !has_forgotten(compared, method))
            .map(|method| name(&method.name))
            .collect();
        if !failed.is_empty() {
            sentences.push(format!(
                "Did not forget what was asked on every network, and so are not ranked: {}.",
                list(&failed)
            ));
        }
        let short: Vec<String> = compared
            .methods
            .iter()
            .filter(|method| headline == Measure::Gap && method.group == group)
            .map(|method| (method, fell_short(compared, method)))
            .filter(|(_, runs)| *runs > 0)
            .map(|(method, runs)| format!("{} (in {runs} of {} runs)", name(&method.name), method.runs.len()))
            .collect();
        if !short.is_empty() {
            sentences.push(format!("Fell short of what was to be forgotten: {}.", list(&short)));
        }
        if headline != Measure::Gap {
            let ranking = rank(compared, group, Measure::Gap);
            if let Some(first) = ranking.first() {
                let farther = match Measure::Gap.before(compared) {
                    Some(before) if before.mean <= first.mean.mean => {
                        format!(" The network before unlearning was no farther: {} points.", with_half(before, 1))
                    }
                    _ => String::new(),
                };
                sentences.push(format!(
                    "Nearest to Retrain over all figures is {}: {} points on average{}.{farther}",
                    name(&first.method.name),
                    with_half(first.mean, 1),
                    told_apart(&ranking, Measure::Gap)
                ));
            }
        }
        if !sentences.is_empty() {
            paragraphs.push(sentences.join(" "));
        }
    }
    if paragraphs.is_empty() {
        paragraphs.push("Nothing was measured that methods could be ranked by.".to_owned());
    } else {
        paragraphs.extend(beside(
            compared,
            headline,
            none_improved && rankings.iter().any(|of| improved(of).is_some()),
        ));
    }
    paragraphs[0].insert_str(0, "<strong>Found.</strong> ");
    paragraphs.iter().map(|paragraph| format!("<p>{paragraph}</p>\n")).collect()
}

fn best_of(ranking: &[Ranked], who: &str, measure: Measure) -> Option<String> {
    let first = ranking.first()?;
    let (method, figure) = (name(&first.method.name), with_half(first.mean, measure.places()));
    let what = match measure {
        Measure::Gap => format!(
            "<strong>{method}</strong> came closest to Retrain: <strong>{figure} points</strong> away on average"
        ),
        Measure::TestAccuracy => format!(
            "<strong>{method}</strong> left the best network: it is right about <strong>{figure} %</strong> of images it has never seen"
        ),
        Measure::TestLoss => format!(
            "<strong>{method}</strong> left the best network: its error on data it has never seen (cross-entropy) is <strong>{figure}</strong>"
        ),
    };
    Some(format!("{who}, {what}{}.", told_apart(ranking, measure)))
}

/// Whether the first is told apart from the others by the differences on the same networks.
fn told_apart(ranking: &[Ranked], measure: Measure) -> String {
    let Some((first, others)) = ranking.split_first().filter(|(_, others)| !others.is_empty()) else {
        return String::new();
    };
    if first.mean.low.is_none() {
        return "; one seed tells no two methods apart".to_owned();
    }
    let tied: Vec<&Ranked> = others.iter().filter(|other| other.is_tied()).collect();
    if tied.is_empty() {
        let next = &others[0];
        return format!(
            ", told apart from each of the {} (from the next, {}, by {})",
            plural(others.len() as u64, "other", "others"),
            name(&next.method.name),
            with_half(next.behind, measure.places() + 1)
        );
    }
    let names: Vec<String> = tied
        .iter()
        .map(|other| {
            format!("{} (behind by {})", name(&other.method.name), with_half(other.behind, measure.places() + 1))
        })
        .collect();
    let rest = match others.len() - tied.len() {
        0 => String::new(),
        rest => format!(", but from the {}", plural(rest as u64, "other", "others")),
    };
    format!(", <strong>not told apart</strong> from {}{rest}", list(&names))
}

/// The same figure before unlearning and of Retrain.
fn beside(compared: &Compared, measure: Measure, none_improved: bool) -> Option<String> {
    let before = measure.before(compared)?;
    let verdict = if none_improved {
        " <strong>No method improved on the network before unlearning</strong> by this figure."
    } else {
        ""
    };
    if measure == Measure::Gap {
        return Some(format!("Before unlearning the network was {} points away.{verdict}", with_half(before, 1)));
    }
    let unit = if measure == Measure::TestAccuracy { " %" } else { "" };
    let write = |interval| with_half(interval, measure.places()) + unit;
    let retrain = compared.references.iter().filter_map(|of| of.retrain.as_ref()).map(|of| measure.read(of));
    let retrain = Interval::of(&retrain.collect::<Option<Vec<f64>>>().unwrap_or_default());
    let retrain = retrain.map_or(String::new(), |retrain| format!("; of Retrain {}", write(retrain)));
    Some(format!("The figure before unlearning was {}{retrain}.{verdict}", write(before)))
}

fn not_proven(compared: &Compared) -> String {
    let mut points = vec![
        "That no trace of the samples is left in the weights: networks were watched from outside, in the ways this page lists.".to_owned(),
        format!(
            "That the order of methods is the same for other data, larger networks or other shares to forget: this is one task, {}.",
            plural(compared.references.len() as u64, "network", "networks")
        ),
    ];
    if compared.methods.len() > 2 {
        points.push("Each difference on its own is chance in at most one case of twenty; with this many methods, one such case may be among them.".to_owned());
    }
    points.push(if compared.likelihood.is_empty() {
        "That a strong attacker finds nothing: the attacks that were run (MIA) are simple ones.".to_owned()
    } else {
        "That no attacker finds anything: the likelihood-ratio attack below is strong, but its shadow networks are few, and others may be stronger.".to_owned()
    });
    let weak: Vec<String> = compared
        .contestants()
        .iter()
        .filter_map(|(method, _, runs)| {
            let accuracy = mean_over(runs, |measured| measured.mia_attack_accuracy)?;
            (accuracy.mean < WEAK_ATTACK).then(|| format!("{} ({} %)", name(method), decimal(accuracy.mean, 1)))
        })
        .collect();
    if !weak.is_empty() {
        points.push(format!(
            "<strong>The membership attack “SVC, confidence” hardly tells members from others</strong> for {}: it is right about as often as a coin. Its figures (MIA), and their part of the average gap, say little there.",
            list(&weak)
        ));
    }
    points.iter().map(|point| format!("<li>{point}</li>\n")).collect()
}
