//! Every hyper-parameter: what was chosen, what was tried, and the whole configuration.

use crate::{
    stage::Stage,
    text::{Escaped, decimal, name, plural},
};
use rewind_comparison::Compared;

pub fn render(stage: &Stage, compared: &Compared) -> String {
    chosen(stage, compared) + &search(stage, compared) + &configuration(stage, compared)
}

fn chosen(stage: &Stage, compared: &Compared) -> String {
    let mut rows = String::new();
    for method in &compared.methods {
        let Some(tried) = method.tries.get(method.chosen) else { continue };
        let mut parameters = Vec::new();
        if let Ok(table) = toml::Value::try_from(&tried.unlearn) {
            flatten("", &table, &mut parameters);
        }
        let parameters: String =
            parameters.iter().map(|(key, value)| format!("{} = {}\n", Escaped(key), Escaped(value))).collect();
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}<small>{}</small></th><td class=\"words\">{}</td><td class=\"words\"><code class=\"lines\">{parameters}</code></td></tr>\n",
            name(&method.name),
            Escaped(&method.group),
            Escaped(&tried.setting),
        ));
    }
    let body = format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="Chosen settings"><table class="methods">
<thead><tr><th scope="col">method</th><th scope="col" class="words">found by the search</th><th scope="col" class="words">all hyper-parameters</th></tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="notes">What each method’s name stands for, where it is published and what differs here: docs/methods.md of this program’s source.</p>
"#
    );
    stage.section("The settings", &format!("<details><summary>What each method ran with</summary>\n{body}</details>\n"))
}

/// `forward.optimiser.adam.learning-rate` and its value, one a leaf.
fn flatten(prefix: &str, value: &toml::Value, into: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, into);
            }
        }
        leaf => into.push((prefix.to_owned(), leaf.to_string())),
    }
}

fn search(stage: &Stage, compared: &Compared) -> String {
    let mut rows = String::new();
    for method in &compared.methods {
        for (at, tried) in method.tries.iter().enumerate() {
            let chosen = if at == method.chosen { " <span class=\"tag\">chosen</span>" } else { "" };
            let measured = &tried.measured;
            let cells: String = [measured.ra, measured.ua, measured.va, measured.mia, tried.merit]
                .map(|figure| format!("<td>{}</td>", decimal(figure, 2)))
                .concat();
            rows.push_str(&format!(
                "<tr{class}><th scope=\"row\">{method}{chosen}</th><td class=\"words\">{setting}</td>{cells}<td>{rounds}</td><td class=\"words\"><code>{rule}</code></td></tr>\n",
                class = if at == method.chosen { " class=\"best\"" } else { "" },
                method = name(&method.name),
                setting = Escaped(&tried.setting),
                rounds = measured.rounds.len(),
                rule = Escaped(&tried.rule),
            ));
        }
    }
    let body = format!(
        r#"<p>Each method tried {tries} on seed {seed}, which is in no figure above; chosen by {by} (last figure: smaller is better, none where what was asked for was not forgotten). Test data was not read.</p>
<details><summary>The whole grid</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Every setting that was tried"><table class="log">
<thead><tr><th scope="col">method</th><th scope="col" class="words">setting</th><th scope="col">RA</th><th scope="col">UA</th><th scope="col">validation</th><th scope="col">SVC, confidence</th><th scope="col">chosen by</th><th scope="col">rounds</th><th scope="col" class="words">stopped by</th></tr></thead>
<tbody>
{rows}</tbody></table></div></details>
"#,
        tries = plural(compared.comparison.tries as u64, "setting", "settings"),
        seed = compared.comparison.search_seed,
        by = compared.comparison.choose_by.words(),
    );
    stage.section("How the settings were found", &body)
}

fn configuration(stage: &Stage, compared: &Compared) -> String {
    let whole = toml::to_string(&compared.comparison).unwrap_or_default();
    let body =
        format!("<details><summary>The whole configuration</summary>\n<pre>{}</pre></details>\n", Escaped(&whole));
    stage.section("Configuration", &body)
}

#[cfg(test)]
mod tests {
    use super::flatten;

    #[test]
    fn parameters_are_named_by_their_place() {
        let table: toml::Value = toml::from_str("a = 1\n[b.c]\nd = 1e-3\ne = [1, 2]").unwrap();
        let mut found = Vec::new();
        flatten("", &table, &mut found);
        let found: Vec<String> = found.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(found, ["a = 1", "b.c.d = 0.001", "b.c.e = [1, 2]"]);
    }
}
