//! What makes the run repeatable and checkable: warnings, events, data, machine, configuration.

use rewind_job::Report;

use super::text::{Escaped, NOTHING, count, instant, name};

/// Above everything else: a reader must see it before the figures.
pub fn warnings(report: &Report) -> String {
    if report.warnings.is_empty() {
        return String::new();
    }
    let items: String = report.warnings.iter().map(|warning| format!("<li>{}</li>\n", Escaped(warning))).collect();
    format!(
        "<section class=\"warnings\" aria-label=\"Warnings\">\n<h2>Before you trust the figures</h2>\n<ul>\n{items}</ul>\n</section>\n"
    )
}

pub fn render(report: &Report) -> String {
    events(report) + &data(report) + &machine(report) + &configuration(report)
}

fn events(report: &Report) -> String {
    let generations = report.events.iter().map(|event| event.generation.0).max().unwrap_or(0);
    let restarts = match generations {
        0 | 1 => "The job ran through without a restart.".to_owned(),
        2 => "The job was restarted <strong>once</strong> from its last committed round.".to_owned(),
        n => format!("The job was restarted <strong>{} times</strong> from its last committed round.", n - 1),
    };
    if report.events.is_empty() {
        return format!(
            "<section>\n<h2>Restarts and decisions</h2>\n<p>{}</p>\n</section>\n",
            "The coordinator’s decisions are not part of this copy of the report."
        );
    }
    let rows: String = report
        .events
        .iter()
        .map(|event| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"words\">{}</td></tr>\n",
                event.sequence,
                instant(event.at),
                event.generation,
                Escaped(&event.text)
            )
        })
        .collect();
    format!(
        r#"<section>
<h2>Restarts and decisions</h2>
<p>{restarts}</p>
<details><summary>Every decision of the coordinator <span class="soft">{events}</span></summary>
<div class="scroll"><table class="log">
<thead><tr><th scope="col">no.</th><th scope="col">time</th><th scope="col">gang</th><th scope="col" class="words">decision and reason</th></tr></thead>
<tbody>
{rows}</tbody></table></div></details>
</section>
"#,
        events = report.events.len(),
    )
}

fn data(report: &Report) -> String {
    let data = &report.data;
    let mut counts = vec![
        ("to forget".to_owned(), Some(data.forget)),
        ("remaining".to_owned(), data.remaining),
        ("test".to_owned(), data.test),
        ("validation".to_owned(), data.validation),
        ("attack".to_owned(), data.attack),
    ];
    if let Some(apart) = &data.class_apart {
        for (part, samples) in [("test", apart.test), ("validation", apart.validation), ("attack", apart.attack)] {
            counts.push((format!("{part}, class {} apart", apart.label), Some(samples)));
        }
    }
    if let Some(triggered) = data.triggered {
        counts.push(("test, with the trigger".to_owned(), Some(triggered)));
    }
    let counts: String = counts
        .into_iter()
        .map(|(part, samples)| format!("<div><dt>{part}</dt><dd>{}</dd></div>\n", count(samples)))
        .collect();
    let files: String = data
        .files
        .iter()
        .map(|(file, digest)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"words\"><code>{}</code></td></tr>\n",
                name(file),
                Escaped(&digest.0)
            )
        })
        .collect();
    let weights: String = report
        .measured()
        .map(|measured| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"words\"><code>{}</code></td></tr>\n",
                name(&measured.name),
                Escaped(&measured.weights.0)
            )
        })
        .collect();
    let digests = |title: &str, rows: String| {
        if rows.is_empty() {
            return String::new();
        }
        format!(
            "<details><summary>{title}</summary>\n<div class=\"scroll\"><table class=\"log\">\n<tbody>\n{rows}</tbody></table></div></details>\n"
        )
    };
    format!(
        "<section>\n<h2>Data</h2>\n<p>Samples in each part.</p>\n<dl class=\"facts\">\n{counts}</dl>\n{}{}</section>\n",
        digests("Files that were read, with their SHA-256", files),
        digests("Weights of each step, with their SHA-256", weights)
    )
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let facts = [
        ("workers", report.world_size.to_string()),
        ("threads a worker", machine.threads.to_string()),
        ("device", machine.device.clone()),
        ("CPU capability", machine.cpu_capability.clone()),
        ("libtorch", machine.libtorch.clone()),
        ("Rewind", super::program(report)),
        ("seed", report.specification.seed.to_string()),
    ];
    let facts: String = facts
        .iter()
        .map(|(label, value)| {
            let value = if value.is_empty() { NOTHING } else { value };
            format!("<div><dt>{label}</dt><dd>{}</dd></div>\n", Escaped(value))
        })
        .collect();
    format!(
        "<section>\n<h2>Machine and version</h2>\n<p>The same configuration gives the same bits on an equal machine only.</p>\n<dl class=\"facts\">\n{facts}</dl>\n</section>\n"
    )
}

fn configuration(report: &Report) -> String {
    format!(
        "<section>\n<h2>Configuration</h2>\n<details><summary>The whole specification</summary>\n<pre>{}</pre></details>\n</section>\n",
        Escaped(&report.specification.to_toml())
    )
}
