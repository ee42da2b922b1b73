//! `rewind predictor`: trained predictors as files.

use std::{collections::BTreeMap, path::Path};

use rewind_artifacts::open_safetensors;
use rewind_job::{OperationType, shortened};
use rewind_keras::{Block, Network};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    arguments::{Convert, Predictor, ShowPredictor},
    error::Error,
    output,
};

pub async fn run(wanted: Predictor) -> Result<(), Error> {
    match wanted {
        Predictor::Evaluate(evaluate) => super::evaluate::run(evaluate).await,
        Predictor::Convert(convert) => run_convert(&convert),
        Predictor::Show(show) => run_show(&show),
    }
}

fn run_convert(arguments: &Convert) -> Result<(), Error> {
    let mut networks = BTreeMap::new();
    for operation in OperationType::ALL {
        let file = file_of(arguments, operation)?;
        let unfit = |error: rewind_keras::KerasError| Error::Predictor {
            what: "convert",
            path: file.to_owned(),
            problem: error.to_string(),
        };
        let bytes = std::fs::read(file).map_err(Error::file("read", file))?;
        networks.insert(operation, (file, Network::from_keras(bytes, arguments.block_order).map_err(unfit)?));
    }
    let bytes = rewind_keras::to_bytes(|operation| &networks[&operation].1, arguments.horizon).map_err(|error| {
        let files: Vec<_> = networks.values().map(|(file, _)| file.display().to_string()).collect();
        Error::Usage(format!("{error} (from {})", files.join(", ")))
    })?;
    std::fs::write(&arguments.out, bytes).map_err(Error::file("write", &arguments.out))?;

    let is_guess = |network: &Network| network.block() != Block::ByDepth && arguments.block_order.is_none();
    if let Some((file, network)) = networks.values().find(|(_, network)| is_guess(network)) {
        eprintln!(
            "warning: {} does not say which layers of A(h) are shift, scale and gate; taken in the order {}. \
             Compare its figures with what is known of the network; --block-order takes another order",
            file.display(),
            network.block()
        );
    }

    let converted: Vec<Value> =
        networks.iter().map(|(operation, (file, network))| about(*operation, file, network)).collect();
    if arguments.json {
        output::json(&json!({ "out": arguments.out, "horizon": arguments.horizon, "networks": converted }));
        return Ok(());
    }
    for (operation, (file, network)) in &networks {
        let figures = network.figures();
        output::line(format!(
            "{:<16} {}: K = {}; small drift: λ {:.2}; weight at rest at 0.5: {:+.1e}, at -0.5: {:+.1e}",
            operation.name(),
            file.display(),
            network.snapshots(),
            figures.lambda,
            figures.resting_at_half,
            figures.resting_at_minus_half
        ));
    }
    output::line(arguments.out.display());
    Ok(())
}

fn file_of(arguments: &Convert, operation: OperationType) -> Result<&Path, Error> {
    let own = match operation {
        OperationType::Convolution => &arguments.convolution,
        OperationType::FullyConnected => &arguments.fully_connected,
        OperationType::Bias => &arguments.bias,
    };
    own.as_deref().or(arguments.file.as_deref()).ok_or_else(|| {
        let name = operation.name();
        Error::Usage(format!("no file for {name}; name it with --{name} FILE.h5, or give one FILE.h5 for all"))
    })
}

fn about(operation: OperationType, file: &Path, network: &Network) -> Value {
    let figures = network.figures();
    let layers: serde_json::Map<_, _> = network.places().into_iter().map(|(name, from)| (name, json!(from))).collect();
    json!({
        "operation": operation.name(), "file": file, "snapshots": network.snapshots(),
        "block_order": network.block().to_string(),
        "lambda": figures.lambda, "resting_at_half": figures.resting_at_half,
        "resting_at_minus_half": figures.resting_at_minus_half, "layers": layers,
    })
}

fn run_show(arguments: &ShowPredictor) -> Result<(), Error> {
    let bytes = std::fs::read(&arguments.file).map_err(Error::file("read", &arguments.file))?;
    let card = read_card(&bytes).map_err(|problem| Error::Predictor {
        what: "show",
        path: arguments.file.clone(),
        problem,
    })?;
    if arguments.json {
        output::json(&card);
    } else {
        output::line(format!("{}: {}", arguments.file.display(), text(&card["architecture"])));
        for (snapshots, card) in card["snapshots"].as_object().into_iter().flatten() {
            output::line(format!(
                "\nK = {snapshots}, horizons {}, {} parameters",
                text(&card["horizons"]),
                card["parameters"]
            ));
            show_training(&card["training"]);
        }
    }
    Ok(())
}

/// The card as the file has it, with the number of parameters of each `K`. Fields that this program does not know stay.
pub fn read_card(bytes: &[u8]) -> Result<Value, String> {
    card_in(bytes).map_err(shortened)
}

fn card_in(bytes: &[u8]) -> Result<Value, String> {
    let file = open_safetensors(bytes).map_err(|error| format!("no safetensors file: {error}"))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format!("no safetensors file: {error}"))?;
    let document = header.metadata().as_ref().and_then(|metadata| metadata.get("predictor"));
    let document = document.ok_or("no predictor: metadata key `predictor` is missing")?;
    let mut card: Value =
        serde_json::from_str(document).map_err(|error| format!("metadata key `predictor`: {error}"))?;
    let Some(by_snapshots) = card.get_mut("snapshots").and_then(Value::as_object_mut) else {
        return Err("metadata key `predictor` has no table `snapshots`".to_owned());
    };
    for (snapshots, card) in by_snapshots {
        let prefix = format!("k{snapshots}.");
        let of_network = file.tensors().into_iter().filter(|(name, _)| name.starts_with(&prefix));
        let parameters: usize = of_network.map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum();
        let card = card.as_object_mut().ok_or_else(|| format!("the card of K = {snapshots} is no table"))?;
        card.insert("parameters".to_owned(), json!(parameters));
    }
    Ok(card)
}

fn show_training(training: &Value) {
    if training.is_null() {
        output::line("  training: not known (untrained or converted)");
        return;
    }
    let recipe: Vec<String> = training["recipe"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} {}", text(value)))
        .collect();
    output::line(format!("  recipe: {}", recipe.join(", ")));
    for (what, key) in [("trained on", "histories"), ("measured on", "validation-histories")] {
        let digests = training[key].as_array().map(Vec::as_slice).unwrap_or_default();
        output::line(format!("  {what} {} histories", digests.len()));
        digests.iter().for_each(|digest| output::line(format!("    {}", text(digest))));
    }
    let rows = training["validation"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !rows.is_empty() {
        output::line("  L1 error relative to no change:");
        output::line(validation(rows));
    }
}

fn validation(rows: &[Value]) -> String {
    let heads = ["operation", "U", "coordinates", "predictor", "extrapolation", "one λ", "λ per operation"];
    let fitted = |fit: &Value| format!("{} (λ {})", number(&fit["error"]), number(&fit["lambda"]));
    let mut table = vec![heads.map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        vec![
            text(&row["operation"]),
            text(&row["horizon"]),
            text(&row["coordinates"]),
            number(&row["predictor"]),
            number(&row["linear-extrapolation"]),
            fitted(&row["task-vector"]),
            fitted(&row["task-vector-per-operation"]),
        ]
    }));
    output::table(&table)
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
