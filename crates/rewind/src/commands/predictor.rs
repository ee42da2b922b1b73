//! `rewind predictor`: trained predictors as files.

use std::{collections::BTreeMap, path::Path};

use rewind_artifacts::open_safetensors;
use rewind_job::{OperationType, shortened};
use rewind_keras::{Block, DRIFTS, Figures, Network, Published, read_network};
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
    let horizon = arguments.horizon.unwrap_or_else(|| networks[&OperationType::Convolution].1.published().horizon());
    let bytes = rewind_keras::to_bytes(|operation| &networks[&operation].1, horizon).map_err(|error| {
        let files: Vec<_> = networks.values().map(|(file, _)| file.display().to_string()).collect();
        Error::Usage(format!("{error} (from {})", files.join(", ")))
    })?;
    let problems: Vec<(&Path, String)> = networks
        .iter()
        .filter_map(|(operation, (file, network))| {
            wrong_way(network).map(|problem| (*file, format!("the network for {} {problem}", operation.name())))
        })
        .collect();
    match problems.first() {
        Some((file, _)) if !arguments.accept_wrong_way => {
            let all: Vec<&str> = problems.iter().map(|(_, problem)| problem.as_str()).collect();
            let problem = format!(
                "{}. Perhaps layers stand in another order (--block-order); --accept-wrong-way writes it all the same",
                all.join("; ")
            );
            return Err(Error::Predictor { what: "convert", path: (*file).to_owned(), problem });
        }
        _ => problems
            .iter()
            .for_each(|(file, problem)| eprintln!("warning: {}: {problem}; written all the same", file.display())),
    }
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
        output::json(&json!({ "out": arguments.out, "horizon": horizon, "networks": converted }));
        return Ok(());
    }
    for (operation, (file, network)) in &networks {
        output::line(format!(
            "{:<16} {}: K = {}; {}",
            operation.name(),
            file.display(),
            network.snapshots(),
            about_figures(&network.figures())
        ));
    }
    output::line(arguments.out.display());
    Ok(())
}

/// Why a network is refused; none where it looks the way that it should.
fn wrong_way(network: &Network) -> Option<String> {
    let figures = network.figures();
    let problem = match figures {
        Figures::Back { lambda, .. } => {
            format!("does not look back, it walks forward: residual = -λ (newest - oldest) with λ {lambda:+.2}")
        }
        Figures::Ahead { drifts_ahead, down_ahead, .. } => {
            let (drift, up) = (DRIFTS[DRIFTS.len() - 1], drifts_ahead[DRIFTS.len() - 1]);
            let instead = if up > 0.0 || down_ahead > 0.0 {
                "it answers alike whichever way a weight drifts"
            } else {
                "it walks back"
            };
            format!(
                "does not look ahead, {instead}: {up:+.2} drifts ahead at a drift of {drift:e}, {down_ahead:+.2} at \
                 -{drift:e}"
            )
        }
    };
    (!figures.look_the_right_way()).then_some(problem)
}

fn about_figures(figures: &Figures) -> String {
    match figures {
        Figures::Back { lambda, resting_at_half, resting_at_minus_half } => format!(
            "small drift: λ {lambda:+.2}; weight at rest at 0.5: {resting_at_half:+.1e}, at -0.5: \
             {resting_at_minus_half:+.1e}"
        ),
        Figures::Ahead { drifts_ahead, down_ahead, resting_at_half } => {
            let down = (-DRIFTS[DRIFTS.len() - 1], *down_ahead);
            let answers: Vec<String> = DRIFTS
                .into_iter()
                .zip(*drifts_ahead)
                .chain([down])
                .map(|(drift, ahead)| format!("{ahead:+.2} at {drift:e}"))
                .collect();
            format!("drifts ahead: {}; weight at rest at 0.5: {resting_at_half:+.1e}", answers.join(", "))
        }
    }
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
    let layers: serde_json::Map<_, _> = network.places().into_iter().map(|(name, from)| (name, json!(from))).collect();
    let mut about = json!({
        "operation": operation.name(), "file": file, "network": network.published().architecture().name(),
        "snapshots": network.snapshots(), "block_order": network.block().to_string(), "layers": layers,
    });
    let figures = network.figures();
    about["looks_the_right_way"] = figures.look_the_right_way().into();
    match figures {
        Figures::Back { lambda, resting_at_half, resting_at_minus_half } => {
            about["lambda"] = lambda.into();
            about["resting_at_half"] = resting_at_half.into();
            about["resting_at_minus_half"] = resting_at_minus_half.into();
        }
        Figures::Ahead { drifts_ahead, down_ahead, resting_at_half } => {
            about["drifts"] = DRIFTS.to_vec().into();
            about["drifts_ahead"] = drifts_ahead.to_vec().into();
            about["down_ahead"] = down_ahead.into();
            about["resting_at_half"] = resting_at_half.into();
        }
    }
    about
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
        let architecture = text(&card["architecture"]);
        output::line(format!("{}: {architecture}", arguments.file.display()));
        for (snapshots, card) in card["snapshots"].as_object().into_iter().flatten() {
            output::line(format!(
                "\nK = {snapshots}, horizons {}, {} parameters",
                text(&card["horizons"]),
                card["parameters"]
            ));
            show_networks(&bytes, &architecture, snapshots, card);
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

/// What published networks do, and which way they walk. Of the others there is nothing to measure: what they answer
/// depends on their whole tensor.
fn show_networks(bytes: &[u8], architecture: &str, snapshots: &str, card: &Value) {
    let published = match architecture {
        "paper" => Published::InvWnn,
        "wnn" => Published::Wnn,
        _ => return,
    };
    let differences = card["differences"].as_str();
    if differences.is_none() && (published == Published::Wnn || card["training"].is_null()) {
        output::line("  of version 0.1, and refused by jobs: convert or train it again");
        return;
    }
    let (Ok(file), Ok(snapshots)) = (open_safetensors(bytes), snapshots.parse()) else { return };
    for operation in OperationType::ALL {
        let name = operation.name();
        match read_network(&file, published, snapshots, operation, differences) {
            Some(network) => {
                output::line(format!("  {name:<16} {}", about_figures(&network.figures())));
                if let Some(problem) = wrong_way(&network) {
                    eprintln!("warning: the network for {name} {problem}");
                }
            }
            None => output::line(format!("  {name:<16} not the published network")),
        }
    }
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
