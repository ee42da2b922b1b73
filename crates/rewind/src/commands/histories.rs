//! `rewind histories`: recorded trainings in an artifact store.

use std::{fs, path::Path, sync::Arc, time::UNIX_EPOCH};

use rewind_artifacts::{ArtifactStore, open};
use rewind_histories::{self as histories, Filter, Header, Listed, Measure, Moment, Phase};
use rewind_job::{Digest, Schedule};
use serde_json::{Value, json};

use crate::{
    arguments::{ArtifactsAt, Histories},
    error::Error,
    output,
    screen::Screen,
};

/// Digits of a digest that a table shows.
const SHOWN: usize = 12;

pub fn run(wanted: Histories) -> Result<(), Error> {
    match wanted {
        Histories::List { kind, architecture, optimiser, data, learning_rate, json, store } => {
            list(&Filter { kind, architecture, optimiser, data, learning_rate }, json, &store)
        }
        Histories::Show { history, json, store } => show(&history, json, &store),
        Histories::Export { history, out, store } => export(&history, &out, &store),
        Histories::Verify { history, store } => verify(history.as_deref(), &store),
    }
}

/// Opens a store to read from: a folder that is not there is not made.
fn open_store(at: &ArtifactsAt) -> Result<Arc<dyn ArtifactStore>, Error> {
    let location = match &at.artifacts {
        Some(location) => location.clone(),
        None => at.dir.join("artifacts").display().to_string(),
    };
    if !location.contains("://") && !Path::new(&location).is_dir() {
        return Err(Error::NoArtifacts { dir: location.into() });
    }
    open(&location).map_err(|error| Error::Usage(error.to_string()))
}

fn list(filter: &Filter, json: bool, at: &ArtifactsAt) -> Result<(), Error> {
    let listing = histories::list(&*open_store(at)?, filter)?;
    let screen = Screen::new();
    if json {
        output::json(&listing.histories.iter().map(as_json).collect::<Vec<_>>());
    } else if listing.histories.is_empty() {
        screen.say("no such histories");
    } else {
        output::line(table(&listing.histories));
    }
    for unreadable in &listing.unreadable {
        screen.say(&format!("unreadable: {}", unreadable.error));
    }
    Ok(())
}

fn as_json(listed: &Listed) -> Value {
    let Listed { digest, last_written, header } = listed;
    json!({
        "digest": digest,
        "written": last_written.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "provenance": header.outline.provenance,
        "snapshots": header.outline.snapshots.len(),
        "coordinates": coordinates(header),
        "kept": header.outline.kept(),
        "encoding": header.encoding,
        "bytes": header.bytes(),
    })
}

fn table(histories: &[Listed]) -> String {
    let titles =
        ["history", "kind", "architecture", "data", "optimiser", "rate", "batch", "snapshots", "kept", "size", "last"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for Listed { digest, header, .. } in histories {
        let (outline, provenance) = (&header.outline, &header.outline.provenance);
        let training = &provenance.training;
        rows.push(vec![
            shortened(digest).to_owned(),
            provenance.kind.name().to_owned(),
            provenance.architecture.clone(),
            provenance.data.name.clone(),
            training.rule().to_owned(),
            training.optimiser.learning_rate().to_string(),
            training.batch_size.to_string(),
            outline.snapshots.len().to_string(),
            outline.kept().to_string(),
            size(header.bytes()),
            outline.snapshots.last().and_then(best_measure).map_or("–".to_owned(), measured),
        ]);
    }
    output::table(&rows)
}

/// What a table shows of a moment: the held-out data before the training data.
fn best_measure(moment: &Moment) -> Option<Measure> {
    moment.held_out.or(moment.train)
}

fn measured(measure: Measure) -> String {
    measure.accuracy.map_or_else(|| format!("loss {:.4}", measure.loss), |accuracy| format!("{accuracy:.1} %"))
}

fn show(history: &str, json: bool, at: &ArtifactsAt) -> Result<(), Error> {
    let store = open_store(at)?;
    let digest = histories::find(&*store, history)?;
    let header = histories::header(&*store, &digest)?;
    if json {
        output::json(&record(&digest, &header));
        return Ok(());
    }
    output::line(format!("history {digest}\n"));
    output::line(output::pairs(&provenance(&header)));
    output::line(format!("\n{}", tensors(&header)));
    output::line(format!("\n{}", snapshots(&header)));
    let curves = curves(&header.outline.snapshots);
    if !curves.is_empty() {
        output::line(format!("\n{}", output::table(&curves)));
    }
    Ok(())
}

fn record(digest: &Digest, header: &Header) -> Value {
    json!({
        "digest": digest,
        "outline": header.outline,
        "encoding": header.encoding,
        "chunks": header.chunks,
    })
}

fn provenance(header: &Header) -> Vec<(&'static str, String)> {
    let provenance = &header.outline.provenance;
    let samples = provenance.samples;
    let classes = if provenance.classes > 0 { format!(", {} classes", provenance.classes) } else { String::new() };
    let mut pairs = vec![
        ("kind", provenance.kind.name().to_owned()),
        ("architecture", format!("{}, {}", provenance.architecture, provenance.initialisation)),
        ("data", format!("{} (sha256:{})", provenance.data.name, provenance.data.digest)),
        ("loss", provenance.loss.name().to_owned() + &classes),
        (
            "samples",
            format!("{} remaining, {} to forget, {} held out", samples.remaining, samples.forget, samples.held_out),
        ),
        ("wrong labels", format!("{} %", 100.0 * provenance.wrong_labels)),
        ("seed", provenance.seed.to_string()),
        ("threads", provenance.threads.to_string()),
        ("training", descent(&provenance.training)),
    ];
    pairs.extend(provenance.forward.as_ref().map(|forward| ("forward", descent(forward))));
    pairs.push(("encoding", format!("{} in {} chunks", header.encoding.name(), header.chunks.len())));
    let kept = header.outline.kept();
    let a_coordinate = header.bytes() as f64 / kept as f64;
    pairs.push((
        "size",
        format!(
            "{}: {kept} of {} coordinates, {a_coordinate:.1} bytes each",
            size(header.bytes()),
            coordinates(header)
        ),
    ));
    pairs
}

fn descent(descent: &histories::Descent) -> String {
    let schedule = schedule(&descent.schedule);
    let rule = serde_json::to_value(&descent.optimiser).unwrap_or_default();
    let settings = rule.get(descent.rule()).and_then(Value::as_object).cloned().unwrap_or_default();
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("{} ({}), {schedule}, batches of {}", descent.rule(), settings.join(", "), descent.batch_size)
}

fn schedule(of: &Schedule) -> String {
    match of {
        Schedule::Constant => "constant".to_owned(),
        Schedule::Cosine => "cosine".to_owned(),
        Schedule::CosineFromStart => "cosine from the start".to_owned(),
        Schedule::Milestones { epochs, factor } => format!("×{factor} after epochs {epochs:?}"),
        Schedule::WarmUp { epochs, then } => format!("{epochs} epochs of warm-up, then {}", schedule(then)),
    }
}

fn tensors(header: &Header) -> String {
    let mut rows = vec![["tensor", "operation", "shape", "kept"].map(str::to_owned).to_vec()];
    for tensor in &header.outline.tensors {
        let kept = if tensor.is_sampled() { tensor.kept.to_string() } else { "all".to_owned() };
        let sides: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        rows.push(vec![tensor.name.clone(), tensor.operation.name().to_owned(), sides.join("×"), kept]);
    }
    output::table(&rows)
}

fn snapshots(header: &Header) -> String {
    let outline = &header.outline;
    let mut rows = vec![["phase", "snapshots", "epochs"].map(str::to_owned).to_vec()];
    for phase in Phase::ALL {
        let moments = &outline.snapshots[outline.during(phase)];
        if let (Some(first), Some(last)) = (moments.first(), moments.last()) {
            let epochs = format!("{} to {}", first.epoch, last.epoch);
            rows.push(vec![phase.name().to_owned(), moments.len().to_string(), epochs]);
        }
    }
    output::table(&rows)
}

/// One row a curve: first value, picture, last value. What was never measured has none.
fn curves(moments: &[Moment]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (index, name) in ["train", "held-out", "forget"].into_iter().enumerate() {
        let measures = || moments.iter().map(|moment| moment.measures()[index].1);
        let losses: Vec<Option<f64>> = measures().map(|measure| Some(measure?.loss)).collect();
        let accuracies: Vec<Option<f64>> = measures().map(|measure| measure?.accuracy).collect();
        for (what, unit, decimals, values) in [("loss", "", 4, losses), ("accuracy", " %", 1, accuracies)] {
            let measured: Vec<f64> = values.iter().copied().flatten().collect();
            if let (Some(first), Some(last)) = (measured.first(), measured.last()) {
                rows.push(vec![
                    format!("{name} {what}"),
                    format!("{first:.decimals$}{unit}"),
                    sparkline(&values),
                    format!("{last:.decimals$}{unit}"),
                ]);
            }
        }
    }
    rows
}

/// A picture of one line, from the smallest value to the largest; blank where there is none.
fn sparkline(values: &[Option<f64>]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let present = || values.iter().copied().flatten();
    let (low, high) = (present().fold(f64::INFINITY, f64::min), present().fold(f64::NEG_INFINITY, f64::max));
    let level = |value: f64| if high > low { ((value - low) / (high - low) * 7.0).round() as usize } else { 0 };
    values.iter().map(|value| value.map_or(' ', |value| LEVELS[level(value).min(7)])).collect()
}

fn export(history: &str, out: &Path, at: &ArtifactsAt) -> Result<(), Error> {
    let store = open_store(at)?;
    let digest = histories::find(&*store, history)?;
    let header = histories::header(&*store, &digest)?;
    let bytes = histories::export(&histories::read(&*store, &digest)?)?;
    fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let json = serde_json::to_vec_pretty(&record(&digest, &header)).unwrap_or_default();
    for (name, bytes) in [("history.safetensors", bytes), ("history.json", json)] {
        let file = out.join(name);
        fs::write(&file, bytes).map_err(Error::file("write", &file))?;
        output::line(file.display());
    }
    Ok(())
}

fn verify(history: Option<&str>, at: &ArtifactsAt) -> Result<(), Error> {
    let store = open_store(at)?;
    let digests = match history {
        Some(history) => vec![histories::find(&*store, history)?],
        None => {
            let listing = histories::list(&*store, &Filter::default())?;
            let readable = listing.histories.into_iter().map(|listed| listed.digest);
            readable.chain(listing.unreadable.into_iter().map(|unreadable| unreadable.digest)).collect()
        }
    };
    let mut damaged = 0;
    for digest in &digests {
        let found = histories::verify(&*store, digest)?;
        if found.damage.is_empty() {
            output::line(format!("{}  sound: {} chunks, {}", shortened(digest), found.chunks, size(found.bytes)));
            continue;
        }
        damaged += 1;
        let problems = if found.damage.len() == 1 { "problem" } else { "problems" };
        output::line(format!("{}  damaged: {} {problems}", shortened(digest), found.damage.len()));
        found.damage.iter().for_each(|problem| output::line(format!("  {problem}")));
    }
    match (damaged, digests.len()) {
        (0, 0) => Screen::new().say("no histories"),
        (0, _) => {}
        (damaged, histories) => return Err(Error::Damaged { damaged, histories }),
    }
    Ok(())
}

fn coordinates(header: &Header) -> usize {
    header.outline.tensors.iter().map(histories::KeptTensor::len).sum()
}

fn shortened(digest: &Digest) -> &str {
    &digest.0[..SHOWN.min(digest.0.len())]
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_spans_its_values() {
        assert_eq!(sparkline(&[Some(0.0), None, Some(3.5), Some(7.0)]), "▁ ▅█");
        assert_eq!(sparkline(&[Some(2.0), Some(2.0)]), "▁▁", "what does not move is flat");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!([0, 1023, 1024, 4 << 20].map(size), ["0 B", "1023 B", "1.0 KiB", "4.0 MiB"]);
    }
}
