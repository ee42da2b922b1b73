//! The state store on etcd, for several coordinators. Only this file knows etcd.
//!
//! The leader is the key `leader`, held by a lease; its create-revision is the term, and every write compares it.

use std::{
    future::Future,
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error as EtcdError, GetOptions, KeyValue, PutOptions, Txn, TxnOp,
    TxnOpResponse,
};
use rewind_job::Term;
use tokio::runtime::{Builder, Runtime};

use crate::{Entry, Leader, StateStore, StoreError, Version, Write, check_size};

/// Keys of one page of a list.
const PAGE: i64 = 200;
/// Writes of one transaction: etcd takes 128 operations by default.
pub const WRITES_AT_ONCE: usize = 100;
/// Message size of a list's page: as many values as fit, each of at most 1 MiB.
const PAGE_BYTES: usize = 256 << 20;

/// Where etcd is, and what of it is ours.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://10.0.0.1:2379`, …
    pub endpoints: Vec<String>,
    /// All keys begin with it: several fleets share one etcd.
    pub prefix: String,
    /// Longest that one call may take.
    pub call: Duration,
}

impl EtcdOptions {
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>) -> Self {
        Self { endpoints, prefix: prefix.into(), call: Duration::from_millis(1500) }
    }
}

pub struct EtcdStore {
    client: Client,
    options: EtcdOptions,
    runtime: Runtime,
}

impl EtcdStore {
    /// # Errors
    /// When no endpoint answers.
    pub fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        let failed =
            |problem: String| StoreError::Failed(format!("etcd at {}: {problem}", options.endpoints.join(", ")));
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("etcd").enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let connect = ConnectOptions::new()
            .with_connect_timeout(options.call)
            .with_timeout(options.call)
            .with_keep_alive(options.call, options.call);
        let (client, found) = runtime
            .block_on(async {
                let client = Client::connect(&options.endpoints, Some(connect)).await?;
                let mut kv = client.kv_client().max_decoding_message_size(PAGE_BYTES);
                let found = kv.get(format!("{}leader", options.prefix), None).await.map(drop);
                Ok::<_, EtcdError>((client, found))
            })
            .map_err(|error| failed(error.to_string()))?;
        found.map_err(|error| failed(error.to_string()))?;
        Ok(Self { client, options, runtime })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.options.prefix)
    }

    /// Makes a call, again where an endpoint is down, for as long as a call may take.
    fn call<T, F: Future<Output = Result<T, EtcdError>>>(&self, call: impl Fn(Client) -> F) -> Result<T, StoreError> {
        let attempts = async {
            loop {
                match call(self.client.clone()).await {
                    // Another endpoint may answer; the same transaction twice is one.
                    Err(error) if is_away(&error) => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => return other,
                }
            }
        };
        match self.runtime.block_on(async { tokio::time::timeout(self.options.call, attempts).await }) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(StoreError::Failed(format!("etcd: {error}"))),
            Err(_) => Err(StoreError::Unavailable(format!("etcd did not answer within {:?}", self.options.call))),
        }
    }

    fn leads(&self, term: Term) -> Compare {
        Compare::create_revision(self.key("leader"), CompareOp::Equal, term.0 as i64)
    }
}

fn is_away(error: &EtcdError) -> bool {
    match error {
        EtcdError::GRpcStatus(status) => {
            use tonic::Code;
            // A member without a leader, or one that is going down, says so in many words.
            matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
            )
        }
        EtcdError::TransportError(_) | EtcdError::IoError(_) => true,
        _ => false,
    }
}

fn version_of(entry: &KeyValue) -> Version {
    entry.version() as Version
}

impl StateStore for EtcdStore {
    fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
        check_size(writes)?;
        if writes.len() > WRITES_AT_ONCE {
            return Err(StoreError::Failed(format!("{} writes at once; etcd takes {WRITES_AT_ONCE}", writes.len())));
        }
        let mut compares = vec![self.leads(term)];
        compares.extend(writes.iter().map(|write| {
            let version = write.expected.unwrap_or(0) as i64;
            Compare::version(self.key(&write.key), CompareOp::Equal, version)
        }));
        let then = writes.iter().map(|write| match &write.value {
            Some(value) => TxnOp::put(self.key(&write.key), value.clone(), None),
            None => TxnOp::delete(self.key(&write.key), None),
        });
        let mut otherwise = vec![TxnOp::get(self.key("leader"), None)];
        otherwise.extend(writes.iter().map(|write| TxnOp::get(self.key(&write.key), None)));
        let txn = Txn::new().when(compares).and_then(then.collect::<Vec<_>>()).or_else(otherwise);
        let answer = self.call(|client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        })?;
        if answer.succeeded() {
            return Ok(());
        }
        // What was there instead, read in the same transaction.
        let mut found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(get) => {
                get.kvs().first().map(|kv| (kv.value().to_vec(), version_of(kv), kv.create_revision()))
            }
            _ => None,
        });
        let leader = found.next().flatten();
        if leader.map(|(_, _, revision)| revision) != Some(term.0 as i64) {
            return Err(StoreError::Deposed(term));
        }
        let found: Vec<_> = found.map(|entry| entry.map(|(value, version, _)| (value, version))).collect();
        let at = |key: &str| found[writes.iter().position(|write| write.key == key).unwrap_or_default()].clone();
        if crate::happened(writes, at) {
            return Ok(());
        }
        let conflict = crate::first_conflict(writes, |key| at(key).map(|(_, version)| version));
        Err(StoreError::Conflict(conflict.map_or_else(String::new, |write| write.key.clone())))
    }

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        let key = self.key(key);
        let answer = self.call(|client| {
            let key = key.clone();
            async move { client.kv_client().get(key, None).await }
        })?;
        Ok(answer.kvs().first().map(|kv| (kv.value().to_vec(), version_of(kv))))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let begin = self.key(prefix);
        let end = end_of_prefix(&begin);
        let (mut from, mut revision) = (begin.into_bytes(), 0);
        let mut found = Vec::new();
        loop {
            // All pages at one revision: what changes meanwhile is not seen.
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let answer = self.call(|client| {
                let (from, options) = (from.clone(), options.clone());
                async move { client.kv_client().max_decoding_message_size(PAGE_BYTES).get(from, Some(options)).await }
            })?;
            if revision == 0 {
                revision = answer.header().map_or(0, |header| header.revision());
            }
            for kv in answer.kvs() {
                let key = String::from_utf8_lossy(&kv.key()[self.options.prefix.len()..]).into_owned();
                found.push((key, kv.value().to_vec(), version_of(kv)));
            }
            match answer.kvs().last() {
                Some(last) if answer.more() => from = [last.key(), b"\0"].concat(),
                _ => return Ok(found),
            }
        }
    }

    fn campaign(&self, address: &str, lease: Duration) -> Result<Leader, StoreError> {
        if let Some(leader) = self.leader()? {
            return Ok(leader);
        }
        let seconds = lease.as_millis().div_ceil(1000).max(1) as i64;
        let granted = self.call(|client| async move { client.lease_client().grant(seconds, None).await })?.id();
        let key = self.key("leader");
        let txn = Txn::new()
            .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), address, Some(PutOptions::new().with_lease(granted)))])
            .or_else([TxnOp::get(key, None)]);
        let won = self.call(|client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        })?;
        if !won.succeeded() {
            // The lease of the key may be this one: the first answer was lost.
            let held = won.op_responses().into_iter().find_map(|response| match response {
                TxnOpResponse::Get(get) => get.kvs().first().map(|kv| kv.lease()),
                _ => None,
            });
            if held != Some(granted) {
                let _ = self.call(|client| async move { client.lease_client().revoke(granted).await });
            }
        }
        self.leader()?.ok_or_else(|| StoreError::Unavailable("the lead was lost as it was won".into()))
    }

    fn leader(&self) -> Result<Option<Leader>, StoreError> {
        let key = self.key("leader");
        let answer = self.call(|client| {
            let key = key.clone();
            async move { client.kv_client().get(key, None).await }
        })?;
        Ok(answer.kvs().first().map(|kv| Leader {
            address: String::from_utf8_lossy(kv.value()).into_owned(),
            term: Term(kv.create_revision() as u64),
        }))
    }

    fn renew(&self, term: Term) -> Result<(), StoreError> {
        let key = self.key("leader");
        let answer = self.call(|client| {
            let key = key.clone();
            async move { client.kv_client().get(key, None).await }
        })?;
        let held = answer.kvs().first().filter(|kv| kv.create_revision() == term.0 as i64).map(|kv| kv.lease());
        let lease = held.ok_or(StoreError::Deposed(term))?;
        let left = self.call(|client| async move {
            let (mut keeper, mut answers) = client.lease_client().keep_alive(lease).await?;
            keeper.keep_alive().await?;
            Ok(answers.message().await?.map_or(0, |answer| answer.ttl()))
        })?;
        if left > 0 { Ok(()) } else { Err(StoreError::Deposed(term)) }
    }

    fn resign(&self, term: Term) -> Result<(), StoreError> {
        let txn = Txn::new().when([self.leads(term)]).and_then([TxnOp::delete(self.key("leader"), None)]);
        self.call(|client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        })
        .map(drop)
    }

    fn watch_leader(&self) -> Result<Receiver<()>, StoreError> {
        let (watcher, changes) = mpsc::channel();
        let key = self.key("leader");
        let mut stream = self.call(|client| {
            let key = key.clone();
            async move { client.watch_client().watch(key, None).await }
        })?;
        self.runtime.spawn(async move {
            // The channel closes with the watch.
            while let Ok(Some(answer)) = stream.message().await {
                if answer.canceled() || (!answer.events().is_empty() && watcher.send(()).is_err()) {
                    return;
                }
            }
        });
        Ok(changes)
    }
}

/// The first key after all that begin with `prefix`.
fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}
