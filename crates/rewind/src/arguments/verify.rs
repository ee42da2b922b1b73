//! The words of `rewind verify`.

use std::path::PathBuf;

use clap::Args;

use super::Where;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind verify out/quick\n  rewind verify out/quick --signed-by .rewind/signing.pub.pem\n  \
rewind verify certificate.json --weights task-vector=model.safetensors\n  \
rewind verify out/quick --sample 2004 --write-proof sample.json\n  rewind verify out/quick --replay --dir .rewind\n\n\
Exit codes: 0 all that was checked holds · 1 a check failed · 2 wrong usage"
)]
pub struct Verify {
    /// A certificate.json, or a folder that `rewind report` has written: what lies in it is checked, too.
    #[arg(value_name = "CERTIFICATE|DIR")]
    pub subject: PathBuf,
    /// The coordinators' public key (signing.pub.pem), from a source that you trust.
    #[arg(long, value_name = "PUBLIC.pem")]
    pub signed_by: Option<PathBuf>,
    /// The report.json that belongs to it.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Weights that should be a step's result; may be given several times.
    #[arg(long, value_name = "STEP=FILE", value_parser = step_and_file)]
    pub weights: Vec<(String, PathBuf)>,
    /// The disclosure.json that belongs to it: which samples the seals are about.
    #[arg(long, value_name = "FILE")]
    pub disclosure: Option<PathBuf>,
    /// Whether this sample (its id) was forgotten; needs the disclosure.
    #[arg(long, value_name = "ID")]
    pub sample: Option<u32>,
    /// Write a proof that this sample was forgotten, which tells nothing of the others.
    #[arg(long, value_name = "FILE", requires = "sample")]
    pub write_proof: Option<PathBuf>,
    /// A proof that one sample was forgotten, as --write-proof makes it.
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Run the job again on a fleet (--dir, --coordinator), and compare what was read, forgotten and
    /// measured, and the weights bit by bit.
    #[arg(long)]
    pub replay: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

fn step_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((step, file)) if !step.is_empty() && !file.is_empty() => Ok((step.to_owned(), file.into())),
        _ => Err("write it like task-vector=weights.safetensors".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_a_step_and_a_file() {
        assert_eq!(step_and_file("a=b=c"), Ok(("a".into(), "b=c".into())));
        for bad in ["a", "=b", "a="] {
            assert!(step_and_file(bad).is_err(), "{bad}");
        }
    }
}
