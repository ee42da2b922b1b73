//! The words a user types.

mod compare;
mod histories;
mod predictor;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use compare::Compare;
pub use histories::{ArtifactsAt, Histories};
pub use predictor::{Convert, EvaluatePredictor, Predictor, ShowPredictor};
pub use verify::Verify;

use rewind_client::FleetAddress;

use crate::devices::LocalDevice;

/// Removes what a trained model learned from some of its data, with that data alone.
#[derive(Debug, Parser)]
#[command(
    name = "rewind",
    version = rewind_version::VERSION_AND_COMMIT,
    propagate_version = true,
    after_help = "Exit codes: 0 done · 1 the job, the fleet or the network failed · 2 wrong usage or a refused specification\n\n\
Start here:\n  rewind demo\n  rewind up --workers 2 &\n  rewind submit examples/demo.toml --watch --out out/demo"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a local fleet: one coordinator and several workers, until Ctrl-C.
    Up(Up),
    /// Send a specification to the fleet.
    ///
    /// With --watch or --out it follows the job to its end, and ends as `rewind watch` does.
    Submit(Submit),
    /// List all jobs.
    Jobs(Jobs),
    /// Follow a job until it ends.
    ///
    /// Of a job that unlearned, the exit code is its verdict, the worst of its steps: 0 forgot, 3 not forgotten, 4 damaged,
    /// 5 forgot and damaged, 6 not known, unless `fail-if` in the specification says which of them fail. 1: it ended
    /// without a result.
    Watch(Watch),
    /// Stop a job for good.
    Cancel(Cancel),
    /// Stop a job after the round under way, to be resumed later.
    Pause(Pause),
    /// Let a paused or failed job go on after its last committed round.
    Resume(Resume),
    /// List the tasks of a job that makes histories.
    Tasks(Tasks),
    /// Write a finished job's report.json and report.html, and its certificate.
    Report(Report),
    /// Check a certificate: its form, its signature, the files that belong to it; run the job again on demand.
    Verify(Verify),
    /// Print the coordinator's decisions about a job, with their reasons.
    Events(Events),
    /// Run the demonstration from start to end: fleet, job, report.
    Demo(Demo),
    /// Check what this machine has: programs, data, timeouts.
    Doctor(Doctor),
    /// Make a development authority, certificates for each role, and tokens.
    #[command(
        subcommand,
        after_help = "Examples:\n  rewind pki create pki --host coordinator.example\n  rewind pki issue pki --role worker --name worker-7\n  rewind pki token --role operator"
    )]
    Pki(Pki),
    /// List, show, export and verify the histories in an artifact store.
    #[command(
        subcommand,
        after_help = "Examples:\n  rewind histories list --kind unlearning --learning-rate 1e-4..1e-2\n  rewind histories show 3f9a\n  rewind histories export 3f9a --out out/history\n  rewind histories verify --artifacts s3://bucket/prefix"
    )]
    Histories(Histories),
    /// Draw the page again from a report.json or a comparison.json.
    Page(Page),
    /// Compare unlearning methods under one protocol, each with the same search, over several seeds.
    ///
    /// A comparison names a base (data, model, how it is trained, the reference that is trained without the forget data),
    /// methods, and for each the values to search. Every method tries as many settings, on the search seed, chosen on
    /// validation data; then they are frozen and measured on test data for every pair of training and unlearning seeds.
    /// Finished networks are measured more closely where the file says so: `[probes]` (relearning, the line from where they
    /// began, activation maps, the landscape) and `shadow-seeds` (a likelihood-ratio attack).
    /// Each piece is a job on the fleet; a comparison that was interrupted, or whose file has changed in part, goes on
    /// with what is there, and a model is trained once.
    Compare(Compare),
    /// Convert and look at trained predictors.
    #[command(
        subcommand,
        after_help = "Examples:\n  rewind predictor show predictors/equivariant.safetensors\n  rewind predictor convert network.h5 --out paper.safetensors"
    )]
    Predictor(Predictor),
}

/// Where a local fleet is, if nothing is said.
const LOCAL_FLEET: &str = ".rewind";

/// Which fleet is meant.
#[derive(Clone, Debug, Args)]
pub struct Where {
    /// Addresses of the coordinators, separated by commas; they win over --dir.
    #[arg(long = "coordinator", value_name = "URL", env = "REWIND_COORDINATOR", value_delimiter = ',')]
    pub coordinators: Vec<String>,
    /// Certificate of the fleet's authority; with it the connection is encrypted.
    #[arg(long, value_name = "FILE", env = "REWIND_CA")]
    pub ca: Option<PathBuf>,
    /// One's own certificate.
    #[arg(long, value_name = "FILE", env = "REWIND_CERTIFICATE", requires = "ca", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    #[arg(long, value_name = "FILE", env = "REWIND_KEY", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// File that holds a token, instead of a certificate of one's own.
    #[arg(long, value_name = "FILE", env = "REWIND_TOKEN_FILE", requires = "ca")]
    pub token_file: Option<PathBuf>,
    /// Folder of a local fleet, as given to `rewind up`.
    #[arg(long, value_name = "DIR", default_value = LOCAL_FLEET)]
    pub dir: PathBuf,
}

impl Where {
    pub fn address(&self) -> FleetAddress {
        let Self { coordinators, ca, certificate, key, token_file, dir } = self.clone();
        FleetAddress { coordinators, ca, certificate, key, token_file, dir }
    }

    /// The options that name this fleet, for a hint; empty where none are needed.
    pub fn said(&self) -> String {
        match self.coordinators.first() {
            Some(_) if std::env::var_os("REWIND_COORDINATOR").is_some() => String::new(),
            Some(_) => format!(" --coordinator {}", self.coordinators.join(",")),
            None if self.dir.as_os_str() == LOCAL_FLEET => String::new(),
            None => format!(" --dir {}", self.dir.display()),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind up --workers 2\n  rewind up --workers 4 --dir /tmp/fleet --listen 127.0.0.1:7400"
)]
pub struct Up {
    /// How many workers to start.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: u32,
    /// What the workers compute on; one worker takes one GPU.
    #[arg(long, value_enum, default_value = "auto")]
    pub device: LocalDevice,
    /// Folder for state, artifacts and logs; jobs in it go on where they were.
    #[arg(long, value_name = "DIR", default_value = LOCAL_FLEET)]
    pub dir: PathBuf,
    /// Address the coordinator listens on; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: std::net::SocketAddr,
    /// Listen on an address that other machines reach, although nothing is authenticated.
    #[arg(long)]
    pub insecure: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind submit examples/quick.toml\n  rewind submit examples/demo.toml --watch --out out/demo"
)]
pub struct Submit {
    /// The specification; paths in it are taken from its folder.
    #[arg(value_name = "SPEC.toml")]
    pub specification: PathBuf,
    /// Follow the job until it ends.
    #[arg(long)]
    pub watch: bool,
    /// Write the report there when the job has finished (follows the job).
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rewind jobs\n  rewind jobs --json")]
pub struct Jobs {
    /// Print a JSON list of job states.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rewind watch job-1\n  rewind watch job-1 --json    one state a line")]
pub struct Watch {
    /// As `rewind jobs` lists it.
    pub job: String,
    /// Print each state as one line of JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  rewind cancel job-1")]
pub struct Cancel {
    /// As `rewind jobs` lists it.
    pub job: String,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  rewind pause job-1")]
pub struct Pause {
    /// As `rewind jobs` lists it.
    pub job: String,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  rewind resume job-1")]
pub struct Resume {
    /// As `rewind jobs` lists it.
    pub job: String,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rewind tasks job-1\n  rewind tasks job-1 --json")]
pub struct Tasks {
    /// As `rewind jobs` lists it.
    pub job: String,
    /// Print a JSON list.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind report job-1 --out out/job-1\n  rewind report job-1 --out out/job-1 --weights"
)]
pub struct Report {
    /// As `rewind jobs` lists it.
    pub job: String,
    /// Folder for report.json, report.html, certificate.json and disclosure.json (private: it names who was forgotten).
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Write the weights of each step, too: DIR/weights/STEP.safetensors.
    #[arg(long)]
    pub weights: bool,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rewind events job-1\n  rewind events job-1 --json")]
pub struct Events {
    /// As `rewind jobs` lists it.
    pub job: String,
    /// Print a JSON list.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind demo\n  rewind demo --workers 3 --out out/three\n  rewind demo --search --seeds 1,2,3"
)]
pub struct Demo {
    /// World size of the job, and workers to start.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Folder for the report; the fleet lives in DIR/fleet.
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    pub out: PathBuf,
    /// Folder of the digits.
    #[arg(long, value_name = "DIR", default_value = ".data/digits")]
    pub data: PathBuf,
    /// Folder of the trained predictors.
    #[arg(long, value_name = "DIR", default_value = "predictors")]
    pub predictors: PathBuf,
    /// Search the settings of rewinding and of task-vector on validation data instead.
    #[arg(long)]
    pub search: bool,
    #[command(flatten)]
    pub grid: Grid,
}

/// What `--search` tries: every learning rate with every scale, as many for one method as for the other.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Search")]
pub struct Grid {
    /// Forward learning rates (Adam), for both methods.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "5e-4,1e-3", requires = "search")]
    pub learning_rates: Vec<f64>,
    /// λ of task-vector.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0.1,0.2,0.3", requires = "search")]
    pub lambdas: Vec<f64>,
    /// Scales of rewinding; as many as there are λ.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0.05,0.1,0.15", requires = "search")]
    pub scales: Vec<f64>,
    /// Training seeds; the best validation accuracy is averaged over them.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2", requires = "search")]
    pub seeds: Vec<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rewind doctor\n  rewind doctor --json")]
pub struct Doctor {
    /// Folder of the digits.
    #[arg(long, value_name = "DIR", default_value = ".data/digits")]
    pub data: PathBuf,
    /// Folder of the trained predictors.
    #[arg(long, value_name = "DIR", default_value = "predictors")]
    pub predictors: PathBuf,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make an authority, a certificate for each role, and a key that signs reports' certificates, in a new folder.
    Create {
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Names and addresses of the coordinators; localhost always is one.
        #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
        hosts: Vec<String>,
    },
    /// Make one more certificate from an authority.
    Issue {
        /// Folder of the authority.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// coordinator, worker, operator or viewer.
        #[arg(long)]
        role: rewind_security::Role,
        /// Name of the one who will hold it, and of its files.
        #[arg(long)]
        name: String,
        /// Names and addresses of a coordinator.
        #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
        hosts: Vec<String>,
    },
    /// Make a token; print it once, and the line for the coordinators' tokens file.
    Token {
        /// worker, operator or viewer.
        #[arg(long)]
        role: rewind_security::Role,
        /// Written behind it in the tokens file.
        #[arg(long, default_value = "")]
        comment: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  rewind page out/demo/report.json --out page.html")]
pub struct Page {
    /// A report.json or a comparison.json.
    #[arg(value_name = "REPORT.json")]
    pub report: PathBuf,
    /// Where to write the page; without it beside the report.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definition_holds() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        for command in Arguments::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("rewind {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn a_fleet_has_two_workers_and_a_folder_unless_told_otherwise() {
        let Ok(Command::Up(up)) = parse("rewind up") else { panic!("up") };
        assert_eq!((up.workers, up.dir), (2, PathBuf::from(".rewind")));
        assert!(up.listen.ip().is_loopback());
    }

    #[test]
    fn submitting_needs_a_specification() {
        assert_eq!(parse("rewind submit").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
        let Ok(Command::Submit(submit)) = parse("rewind submit a.toml --watch --out o --coordinator http://c:1") else {
            panic!("submit")
        };
        assert!(submit.watch);
        assert_eq!(submit.at.coordinators, ["http://c:1"]);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for line in ["rewind up --workers 0", "rewind demo --workers many", "rewind up --listen here"] {
            assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::ValueValidation, "{line}");
        }
    }

    #[test]
    fn a_grid_belongs_to_the_search() {
        assert!(parse("rewind demo --lambdas 1,2").is_err());
        let Ok(Command::Demo(demo)) = parse("rewind demo --search --lambdas 0.1,0.2 --seeds 4,5") else {
            panic!("demo")
        };
        assert_eq!(demo.grid.lambdas, [0.1, 0.2]);
        assert_eq!(demo.grid.seeds, [4, 5]);
        assert_eq!(demo.grid.learning_rates, [5e-4, 1e-3]);
    }
}
