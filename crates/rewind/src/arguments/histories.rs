//! The words of `rewind histories`.

use std::{ops::RangeInclusive, path::PathBuf};

use clap::{Args, Subcommand};
use rewind_histories::Kind;

/// Recorded trainings, from which predictors learn.
#[derive(Debug, Subcommand)]
pub enum Histories {
    /// List histories, the newest last.
    List {
        /// training or unlearning.
        #[arg(long, value_parser = history_kind)]
        kind: Option<Kind>,
        /// As a specification spells it: residual-small.
        #[arg(long, value_name = "NAME")]
        architecture: Option<String>,
        /// sgd, adam or adamw; of the training, not of the forward phase.
        #[arg(long, value_name = "RULE")]
        optimiser: Option<String>,
        /// Name of the data set, or four or more digits of its digest.
        #[arg(long, value_name = "NAME|DIGEST")]
        data: Option<String>,
        /// One number, or a range with its ends: 1e-4..1e-2; either end may be left out.
        #[arg(long, value_name = "RANGE", value_parser = number_range)]
        learning_rate: Option<RangeInclusive<f64>>,
        /// Print a JSON list.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: ArtifactsAt,
    },
    /// Show how a history was made, its tensors and its curves.
    Show {
        /// Four or more digits of its digest are enough.
        #[arg(value_name = "DIGEST")]
        history: String,
        /// Print the record as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: ArtifactsAt,
    },
    /// Write the snapshots as plain float32 to DIR/history.safetensors, and all else to DIR/history.json.
    Export {
        /// Four or more digits of its digest are enough.
        #[arg(value_name = "DIGEST")]
        history: String,
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        store: ArtifactsAt,
    },
    /// Read every byte and name each damaged chunk; exit code 1 if there is one.
    Verify {
        /// Four or more digits of its digest are enough; without it all histories.
        #[arg(value_name = "DIGEST")]
        history: Option<String>,
        #[command(flatten)]
        store: ArtifactsAt,
    },
}

/// Which artifact store is meant.
#[derive(Clone, Debug, Args)]
pub struct ArtifactsAt {
    /// Artifact store: a folder, or s3://bucket/prefix with the usual AWS_* variables [default: DIR/artifacts].
    #[arg(long, value_name = "DIR|URL")]
    pub artifacts: Option<String>,
    /// Folder of a local fleet, as given to `rewind up`.
    #[arg(long, value_name = "DIR", default_value = ".rewind")]
    pub dir: PathBuf,
}

fn history_kind(text: &str) -> Result<Kind, String> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    kind.ok_or_else(|| "it is training or unlearning".to_owned())
}

fn number_range(text: &str) -> Result<RangeInclusive<f64>, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str, absent: f64| match text {
        "" => Ok(absent),
        text => text.parse::<f64>().map_err(|_| format!("`{text}` is no number")),
    };
    let range = number(low, f64::NEG_INFINITY)?..=number(high, f64::INFINITY)?;
    if range.is_empty() { Err("it ends before it begins".to_owned()) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_numbers_has_both_ends_one_or_is_one_number() {
        assert_eq!(number_range("1e-4..1e-2"), Ok(1e-4..=1e-2));
        assert_eq!(number_range("1e-3"), Ok(1e-3..=1e-3));
        assert_eq!(number_range("..1e-3"), Ok(f64::NEG_INFINITY..=1e-3));
        assert_eq!(number_range("1e-3.."), Ok(1e-3..=f64::INFINITY));
        for wrong in ["x", "1..x", "2..1", "nan", "1...2"] {
            number_range(wrong).unwrap_err();
        }
    }
}
