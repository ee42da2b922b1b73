//! A real server of S3's protocol, which checks signatures; its buckets are folders.

use std::{net::TcpListener, path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const KEY: &str = "AKIATESTTESTTEST";
pub const SECRET: &str = "hush/hush+hush0123456789";
/// Where a fleet keeps its artifacts in it.
pub const PLACE: &str = "s3://models/fleet";

/// Serves until it is dropped.
pub struct S3Server {
    folder: TempDir,
    address: String,
    _runtime: Runtime,
}

impl S3Server {
    /// Serves those who connect to this listener.
    pub fn start(listener: TcpListener) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("models")).expect("makes the bucket");
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).expect("opens the folder"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let address = format!("http://{}", listener.local_addr().expect("is bound"));
        listener.set_nonblocking(true).expect("is a socket");
        let runtime = Runtime::new().expect("starts");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("is a socket");
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    // Who connected is gone again, or no more files can be opened for now.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), service.clone()));
            }
        });
        Self { folder, address, _runtime: runtime }
    }

    /// What programs are told by their environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", self.address.as_str()),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
            // On a host of its own it is no loopback address.
            ("AWS_ALLOW_HTTP", "true"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// The folder that holds the buckets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
