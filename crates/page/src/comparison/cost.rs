//! What each method costs, beside Retrain.

use rewind_job::Measured;

use super::table::{Standing, rows};
use crate::{
    stage::Stage,
    text::{NOTHING, bytes, decimal, seconds, with_half},
};
use rewind_comparison::{Compared, Interval, mean_over};

/// Time on the device of all rounds, seconds; none where it was not measured.
pub fn device_seconds(measured: &Measured) -> Option<f64> {
    measured.rounds.last().map(|record| record.device_seconds).filter(|seconds| *seconds > 0.0)
}

/// The most memory that a rank held in any round, bytes; none where it was not measured.
pub fn peak_memory(measured: &Measured) -> Option<u64> {
    measured.rounds.iter().map(|record| record.peak_memory).max().filter(|bytes| *bytes > 0)
}

type Read = fn(&Measured) -> Option<f64>;

struct Column {
    head: &'static str,
    long: &'static str,
    read: Read,
    write: fn(Interval) -> String,
    /// Whether its ratio to Retrain's stands below.
    compared: bool,
}

const COLUMNS: [Column; 5] = [
    Column {
        head: "wall time",
        long: "from the first round to the last",
        read: |measured| Some(measured.seconds),
        write: |interval| {
            let half = interval.half().map_or(String::new(), |half| format!(" ± {}", seconds(half)));
            seconds(interval.mean) + &half
        },
        compared: true,
    },
    Column {
        head: "device time",
        long: "summed over the workers; on a CPU, processor time",
        read: device_seconds,
        write: |interval| seconds(interval.mean),
        compared: true,
    },
    Column {
        head: "epochs on D<sub>f</sub>",
        long: "epochs over the forget data",
        read: |measured| Some(measured.forget_epochs).filter(|epochs| *epochs > 0.0),
        write: |interval| with_half(interval, 1),
        compared: false,
    },
    Column {
        head: "bytes moved",
        long: "bytes that rank 0 sent",
        read: |measured| Some(measured.bytes_moved as f64),
        write: |interval| bytes(interval.mean.round() as u64),
        compared: true,
    },
    Column {
        head: "peak memory",
        long: "the most that one worker held at once, the program itself included",
        read: |measured| peak_memory(measured).map(|bytes| bytes as f64),
        write: |interval| bytes(interval.mean.round() as u64),
        compared: true,
    },
];

pub fn render(stage: &Stage, compared: &Compared) -> String {
    let contestants = compared.contestants();
    let retrain: Vec<Vec<&Measured>> =
        compared.references.iter().filter_map(|of| Some(vec![of.retrain.as_ref()?])).collect();
    let is_there = |column: &&Column| contestants.iter().any(|(_, _, runs)| mean_over(runs, column.read).is_some());
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_there).collect();
    let heads: String = columns
        .iter()
        .map(|column| format!("<th scope=\"col\"><abbr title=\"{}\">{}</abbr></th>", column.long, column.head))
        .collect();
    let cells = |is_method: bool, runs: &[Vec<&Measured>]| -> String {
        let cell = |column: &&Column| {
            let Some(interval) = mean_over(runs, column.read) else {
                return format!("<td>{NOTHING}</td>");
            };
            let beside = mean_over(&retrain, column.read).filter(|_| is_method && column.compared);
            let ratio = beside.filter(|beside| beside.mean > 0.0).map(|beside| interval.mean / beside.mean);
            let ratio = ratio.map_or(String::new(), |ratio| {
                format!("<small>{} × Retrain’s</small>", decimal(ratio, if ratio < 0.0995 { 3 } else { 2 }))
            });
            format!("<td>{}{ratio}</td>", (column.write)(interval))
        };
        columns.iter().map(cell).collect()
    };
    let rows = rows(
        stage,
        compared,
        columns.len() + 1,
        |_| Standing::Other,
        |_, group, runs| cells(group != "reference", runs),
    );
    let body = format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="Cost of each method"><table class="methods">
<thead><tr><th scope="col">method</th>{heads}</tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="notes">Means over seeds. The search for settings is not in them. Retrain is what a method saves: one that costs more than Retrain saves nothing.</p>
"#
    );
    stage.section("Cost", &body)
}
