//! A server that speaks S3 and checks signatures, in this process and on a loopback port, and a line to it that breaks.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hyper_util::rt::TokioIo;
use rewind_job::Digest;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    path::S3Path,
    s3_error,
    service::S3ServiceBuilder,
};
use tokio::runtime::Runtime;

use crate::s3::{Patience, S3};

pub const KEY: &str = "AKIATESTTESTTEST";
pub const SECRET: &str = "hush/hush+hush0123456789";
pub const BUCKET: &str = "rewind";

/// Objects in a folder; served while the runtime is there.
pub struct Server {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(BUCKET)).expect("makes the bucket");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let address = listener.local_addr().expect("is bound");
        let mut server = Self { folder, address, runtime: None };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(self.folder.path()).expect("opens the folder"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        service.set_access(OneBucket);
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("starts");
        listener.set_nonblocking(true).expect("for the runtime");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("is non-blocking");
            loop {
                let (socket, _) = listener.accept().await.expect("accepts");
                let connection = hyper::server::conn::http1::Builder::new();
                let connection = connection.serve_connection(TokioIo::new(socket), service.clone());
                tokio::spawn(connection);
            }
        });
        self.runtime = Some(runtime);
    }

    /// Ends the server and cuts all its connections. Its objects stay.
    pub fn stop(&mut self) {
        self.runtime.take().expect("runs").shutdown_background();
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }

    pub fn start_again(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) => thread::yield_now(),
            }
        };
        self.serve(listener);
    }

    pub fn store(&self, prefix: &str) -> S3 {
        store_at(self.address, prefix, SECRET, Patience::USUAL)
    }

    pub fn path_of(&self, prefix: &str, digest: &Digest) -> PathBuf {
        self.folder.path().join(BUCKET).join(prefix).join(&digest.0[..2]).join(&digest.0)
    }

    /// Keys in the bucket, without the server's own files.
    pub fn keys(&self) -> Vec<String> {
        let bucket = self.folder.path().join(BUCKET);
        let (mut keys, mut folders) = (Vec::new(), vec![bucket.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("reads") {
                let path = entry.expect("reads").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    keys.push(path.strip_prefix(&bucket).expect("is in it").display().to_string());
                }
            }
        }
        keys.sort();
        keys
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whoever signs may do anything in the one bucket. (By itself the server makes a bucket that is put to.)
struct OneBucket;

#[async_trait::async_trait]
impl S3Access for OneBucket {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "a signature is required"));
        }
        match request.s3_path() {
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. } if &**bucket != BUCKET => {
                Err(s3_error!(NoSuchBucket, "the bucket does not exist"))
            }
            _ => Ok(()),
        }
    }
}

pub fn variables(address: SocketAddr, secret: &str) -> Vec<(String, String)> {
    let endpoint = format!("http://{address}");
    let all = [
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", "us-east-1"),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

pub fn store_at(address: SocketAddr, prefix: &str, secret: &str, patience: Patience) -> S3 {
    S3::open_with(&format!("s3://{BUCKET}/{prefix}"), variables(address, secret), patience).expect("opens")
}

/// What a line does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Carries nothing, in either direction.
    Silent,
    /// Is cut when the server has answered with this many bytes.
    CutAfter(usize),
}

/// A line to a server, as a TCP proxy: its first connections have a fault, later ones are sound.
pub struct Line {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Line {
    pub fn to(server: SocketAddr, fault: Fault, faulty: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let address = listener.local_addr().expect("is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        // Ends with the process.
        thread::spawn(move || {
            let mut silent = Vec::new();
            for near in listener.incoming() {
                let near = near.expect("accepts");
                let limit = match fault {
                    _ if count.fetch_add(1, Ordering::SeqCst) >= faulty => usize::MAX,
                    Fault::CutAfter(bytes) => bytes,
                    Fault::Silent => {
                        silent.push(near);
                        continue;
                    }
                };
                let Ok(far) = TcpStream::connect(server) else { continue };
                carry(near.try_clone().expect("clones"), far.try_clone().expect("clones"), usize::MAX);
                carry(far, near, limit);
            }
        });
        Self { address, connections }
    }
}

/// Copies until one side ends or the limit is reached; then both sides are cut.
fn carry(mut from: TcpStream, mut to: TcpStream, limit: usize) {
    thread::spawn(move || {
        let (mut left, mut buffer) = (limit, vec![0; 65_536]);
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..read.min(left)]).is_err() || read >= left {
                break;
            }
            left -= read;
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
