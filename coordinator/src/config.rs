//! What a coordinator is told at its start.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Parser;
use rewind_job::Timeouts;
use rewind_state::{EtcdOptions, EtcdTls};

/// Decides which workers run which jobs, commits their rounds, and answers `rewind`.
#[derive(Clone, Debug, Parser)]
#[command(name = "rewind-coordinator", version = rewind_version::VERSION_AND_COMMIT)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7060")]
    pub listen: SocketAddr,

    /// URL at which workers and users reach this coordinator [default: from --listen].
    #[arg(long, value_name = "URL")]
    pub advertise: Option<String>,

    /// Timeouts as TOML (`detection = "10s"`); `rewind doctor` shows all.
    #[arg(long, value_name = "FILE")]
    pub timeouts: Option<PathBuf>,

    /// Folder of the state store; `coordinator.addr` in it tells the address.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// Artifact store, shared with all workers: a folder, or s3://bucket/prefix with the usual AWS_* variables
    /// [default: DIR/artifacts].
    #[arg(long, value_name = "DIR|URL")]
    pub artifacts: Option<String>,

    /// Keep the state in etcd instead of a file: several coordinators with the same endpoints lead or stand by.
    #[arg(long = "etcd", value_name = "URL", value_delimiter = ',')]
    pub etcd: Vec<String>,

    /// What the keys in etcd begin with: one prefix a fleet.
    #[arg(long, value_name = "TEXT", default_value = "rewind/", requires = "etcd")]
    pub etcd_prefix: String,

    /// Certificate of the authority that signed etcd's certificates, for https.
    #[arg(long, value_name = "FILE", requires = "etcd")]
    pub etcd_ca: Option<PathBuf>,

    /// This coordinator's certificate, where etcd asks for one.
    #[arg(long, value_name = "FILE", requires = "etcd_ca", requires = "etcd_key")]
    pub etcd_certificate: Option<PathBuf>,

    /// That certificate's key.
    #[arg(long, value_name = "FILE", requires = "etcd_certificate")]
    pub etcd_key: Option<PathBuf>,

    /// A user of etcd, where it has users.
    #[arg(long, value_name = "NAME", requires = "etcd", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,

    /// The file that holds that user's password.
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,

    /// Folders that specifications may name files in; without it any, which only an address of this machine allows.
    #[arg(long = "data-root", value_name = "DIR")]
    pub data_roots: Vec<PathBuf>,

    /// Certificate of the authority that signs all certificates; with it every connection is encrypted and every caller
    /// has a role (`rewind pki` makes an authority).
    #[arg(long, value_name = "FILE", requires = "certificate", requires = "key")]
    pub ca: Option<PathBuf>,

    /// This coordinator's certificate.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub certificate: Option<PathBuf>,

    /// The certificate's key.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub key: Option<PathBuf>,

    /// Tokens of callers without a certificate: `role sha256 comment` a line.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub tokens: Option<PathBuf>,

    /// Ed25519 key that signs certificates of finished jobs (PKCS#8 PEM); several coordinators are given the same file
    /// [default: DIR/signing.pem, made at the first start, with DIR/signing.pub.pem for those who verify].
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,

    /// Listen on an address that other machines reach, although nothing is authenticated.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,

    /// Serve gRPC health at this address, without TLS and nothing else, for probes that show no certificate: the service
    /// "" lives, the service "ready" serves once calls are answered, whether this coordinator leads or stands by.
    #[arg(long, value_name = "ADDRESS")]
    pub health: Option<std::net::SocketAddr>,

    /// Serve metrics for Prometheus at this address.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,

    /// Write the log to this file instead of standard error.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// Write the log as JSON.
    #[arg(long)]
    pub json_logs: bool,

    /// End when the process that started this one ends.
    #[arg(long)]
    pub die_with_parent: bool,
}

impl Config {
    /// The files that identify this coordinator, if connections are to be encrypted.
    pub fn identity(&self) -> Option<rewind_security::Files> {
        let (ca, certificate, key) = (self.ca.clone()?, self.certificate.clone()?, self.key.clone()?);
        Some(rewind_security::Files { ca, certificate, key })
    }

    /// How etcd is reached.
    ///
    /// # Errors
    /// Names the option and the file that cannot be read.
    pub fn etcd_options(&self) -> Result<EtcdOptions, String> {
        let mut options = EtcdOptions::new(self.etcd.clone(), self.etcd_prefix.clone());
        if let Some(ca) = &self.etcd_ca {
            // A handshake passes over what is no certificate, and then believes nobody.
            rewind_security::client_tls_for_token(ca).map_err(|error| format!("--etcd-ca: {error}"))?;
            let client = match (&self.etcd_certificate, &self.etcd_key) {
                (Some(certificate), Some(key)) => {
                    Some((read("--etcd-certificate", certificate)?, read("--etcd-key", key)?))
                }
                _ => None,
            };
            options.tls = Some(EtcdTls { ca: read("--etcd-ca", ca)?, client });
        }
        if let (Some(user), Some(file)) = (&self.etcd_user, &self.etcd_password_file) {
            let password = read("--etcd-password-file", file)?;
            options.user = Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()));
        }
        Ok(options)
    }

    /// # Errors
    /// Names the file, or the timeout that is out of order.
    pub fn timeouts(&self) -> Result<Timeouts, String> {
        let Some(path) = &self.timeouts else { return Ok(Timeouts::default()) };
        let text = read("--timeouts", path)?;
        Timeouts::parse(&text).map_err(|error| format!("--timeouts {}: {error}", path.display()))
    }
}

fn read(option: &str, path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{option} {}: {error}", path.display()))
}
