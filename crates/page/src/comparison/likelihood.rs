//! The strongest attack: can a network that unlearned a sample be told from one that never saw it?

use crate::{
    stage::Stage,
    text::{count, decimal, name},
};
use rewind_comparison::Compared;

/// Worst-off samples that stand in the table.
const WORST_OFF: usize = 10;

pub fn render(stage: &Stage, compared: &Compared) -> String {
    if compared.likelihood.is_empty() {
        return String::new();
    }
    let (mut rows, mut worst) = (String::new(), String::new());
    for of in &compared.likelihood {
        let attack = &of.attack;
        let head = format!(
            "<th scope=\"row\"><div class=\"method\">{}<span>{}</span></div></th>",
            stage.series(&of.name).swatch(),
            name(&of.name)
        );
        rows.push_str(&format!(
            "<tr>{head}<td><strong>{}</strong></td><td>{}</td><td>{}</td><td>{}</td><td>{} / {}</td></tr>\n",
            decimal(attack.auc, 3),
            decimal(attack.at_1, 1),
            decimal(attack.at_01, 1),
            decimal(attack.shadows, 1),
            count(attack.unlearned),
            count(attack.never_in),
        ));
        let samples: String = attack
            .worst_off
            .iter()
            .take(WORST_OFF)
            .map(|sample| {
                let networks = crate::text::plural(sample.networks.into(), "network", "networks");
                format!("<li>{} <small>{} nats, {networks}</small></li>\n", sample.sample, decimal(sample.ratio, 2))
            })
            .collect();
        if !samples.is_empty() {
            worst
                .push_str(&format!("<tr>{head}<td class=\"words\"><ol class=\"samples\">\n{samples}</ol></td></tr>\n"));
        }
    }
    let worst = if worst.is_empty() {
        String::new()
    } else {
        format!(
            r#"<details><summary>The samples that each network betrays most</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Worst-off samples"><table class="methods">
<thead><tr><th scope="col">network</th><th scope="col" class="words">samples by their place in the pool, the surest first</th></tr></thead>
<tbody>
{worst}</tbody></table></div></details>
"#
        )
    };
    let body = format!(
        r#"<p>The attacker has networks of his own from both worlds, those that unlearned a sample and those that never saw it, and guesses from the confidence in the sample’s label which of the two stands before him. 0.5 is guessing: nothing is left to find for this attack. The row of the network before unlearning says how strong the attack is at all.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Likelihood-ratio attack"><table class="methods">
<thead><tr><th scope="col">network</th><th scope="col"><abbr title="area under the ROC curve; 0.5 is guessing">AUC</abbr></th><th scope="col"><abbr title="share of unlearned samples that are found at 1 % false alarms, %; guessing finds 1">found at 1 %</abbr></th><th scope="col"><abbr title="the same at 0.1 % false alarms; guessing finds 0.1">found at 0.1 %</abbr></th><th scope="col"><abbr title="networks of each world from which the attack learned about a sample, on average">shadows</abbr></th><th scope="col"><abbr title="attacked pairs of a network and a sample: unlearned / never in">attacked pairs</abbr></th></tr></thead>
<tbody>
{rows}</tbody></table></div>
{worst}<p class="notes">Likelihood-ratio membership inference with shadow models (Carlini et al., 2022). With few shadows it is weaker than an attacker with many.</p>
"#
    );
    stage.section("Can an attacker tell what was unlearned?", &body)
}
