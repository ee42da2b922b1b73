//! `rewind compare`.

use std::path::PathBuf;

use clap::Args;

use super::Where;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind up --workers 2 &\n  rewind compare benchmarks/small/standard.toml\n  rewind compare benchmarks/small/*.toml --out out/benchmark --json"
)]
pub struct Compare {
    /// Comparisons, one after another; they make one report.
    #[arg(value_name = "COMPARISON.toml", required = true)]
    pub comparisons: Vec<PathBuf>,
    /// Only these methods.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Run everything anew, also what an earlier comparison has run.
    #[arg(long)]
    pub fresh: bool,
    /// Where to write results.json, results.csv, comparison.json and comparison.html.
    #[arg(long, value_name = "DIR", default_value = "out/comparison")]
    pub out: PathBuf,
    /// Print results.json.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}
