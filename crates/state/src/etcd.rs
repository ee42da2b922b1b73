//! The state store on etcd, for several coordinators. Only this file knows etcd.
//!
//! The leader is the key `leader`, held by a lease; its create-revision is the term, and every write compares it.

use std::{
    error::Error,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error as EtcdError, GetOptions, Identity, KeyValue,
    KvClient, PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use rewind_job::Term;
use tokio::{
    runtime::{Builder, Handle},
    sync::{OnceCell, oneshot},
    task::JoinSet,
    time::sleep_until,
};
use tonic::{
    Code,
    transport::{Endpoint, Uri},
};

use crate::{
    Entry, LARGEST_VALUE, Leader, PAGE, StateStore, StoreError, Version, Write, check_size, first_conflict, happened,
};

/// Writes of one transaction. etcd takes 128 comparisons (`--max-txn-ops`), and one of them is the term's.
const WRITES_AT_ONCE: usize = 127;
/// The largest answer: what a refused transaction finds, each value of the largest size.
const LARGEST_ANSWER: usize = (WRITES_AT_ONCE + 1) * (LARGEST_VALUE + 4096);
/// Between two attempts, when no member could answer.
const PAUSE: Duration = Duration::from_millis(50);
/// etcd closes connections that are probed more often than every 5 s (`--grpc-keepalive-min-time`).
const PROBE_EVERY: Duration = Duration::from_secs(6);
/// Campaigns of this store whose outcome may be unknown.
const CAMPAIGNS_KEPT: usize = 32;
const LEADER: &str = "leader";

/// Where etcd is, and what of it is ours.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://10.0.0.1:2379`, …; all `https` with `tls`.
    pub endpoints: Vec<String>,
    /// All keys begin with it: several fleets share one etcd.
    pub prefix: String,
    pub tls: Option<EtcdTls>,
    /// Name and password.
    pub user: Option<(String, String)>,
    /// Longest that one call may take, other members' turns included; of a list, each page.
    pub call: Duration,
}

/// In PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// Who signed etcd's certificates.
    pub ca: String,
    /// Our certificate and its key, where etcd asks for them.
    pub client: Option<(String, String)>,
}

impl EtcdOptions {
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>) -> Self {
        Self { endpoints, prefix: prefix.into(), tls: None, user: None, call: Duration::from_secs(1) }
    }

    /// What is wrong with them, before anybody is called.
    fn check(&self) -> Result<(), StoreError> {
        let refused = |problem: &str| Err(StoreError::Failed(problem.to_owned()));
        if self.endpoints.is_empty() {
            return refused("etcd has no endpoints");
        }
        for endpoint in &self.endpoints {
            let uri = endpoint.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
            match uri.as_ref().and_then(Uri::scheme_str) {
                Some("http") if self.tls.is_some() => {
                    return refused(&format!(
                        "etcd at {endpoint}: certificates are given, so it must begin with https"
                    ));
                }
                Some("https") if self.tls.is_none() => {
                    return refused(&format!("etcd at {endpoint}: https needs the certificate of etcd's authority"));
                }
                Some("http" | "https") => {}
                _ => return refused(&format!("etcd at {endpoint}: it must look like http://10.0.0.1:2379")),
            }
        }
        if self.call.is_zero() {
            return refused("calls to etcd need some time");
        }
        if let Some(tls) = &self.tls {
            let used = Endpoint::from_static("https://etcd").tls_config(tls.trust());
            used.map_err(|error| {
                StoreError::Failed(format!(
                    "the certificate and the key for etcd do not fit: {}",
                    with_causes(error.to_string(), error.source())
                ))
            })?;
        }
        Ok(())
    }
}

impl EtcdTls {
    fn trust(&self) -> TlsOptions {
        let trust = TlsOptions::new().ca_certificate(Certificate::from_pem(&self.ca));
        match &self.client {
            Some((certificate, key)) => trust.identity(Identity::from_pem(certificate, key)),
            None => trust,
        }
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("call", &self.call)
            .finish()
    }
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EtcdTls").field("client", &self.client.is_some()).finish_non_exhaustive()
    }
}

/// The members of etcd, of which any may answer.
struct Members {
    members: Vec<Member>,
    /// Who answered last.
    preferred: AtomicUsize,
    call: Duration,
}

struct Member {
    endpoint: String,
    connect: ConnectOptions,
    /// Made at the first call: a user's password is checked when it is made.
    client: OnceCell<Client>,
}

struct Answer<T> {
    value: T,
    /// Another attempt at the same was made, and may have had its effect too.
    repeated: bool,
}

impl Members {
    fn new(options: &EtcdOptions) -> Self {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(options.call)
            .with_keep_alive(PROBE_EVERY, options.call)
            .with_keep_alive_while_idle(false)
            // A member that is cut off from the others says so, and ends its watches.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = &options.tls {
            connect = connect.with_tls(tls.trust());
        }
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name, password);
        }
        let member = |endpoint: &String| Member {
            endpoint: endpoint.clone(),
            connect: connect.clone(),
            client: OnceCell::new(),
        };
        let members = options.endpoints.iter().map(member).collect();
        Self { members, preferred: AtomicUsize::new(0), call: options.call }
    }

    async fn client(&self, index: usize) -> Result<Client, EtcdError> {
        let member = &self.members[index];
        let connect = || Client::connect([&member.endpoint], Some(member.connect.clone()));
        member.client.get_or_try_init(connect).await.cloned()
    }

    /// Asks one member, and the next one where that fails or is slow, until one answers or the time is over.
    async fn ask<T, F, C>(self: Arc<Self>, deadline: Instant, call: C) -> Result<Answer<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EtcdError>> + Send + 'static,
        C: Fn(Client) -> F + Clone + Send + Sync + 'static,
    {
        let patience = self.call / self.members.len() as u32;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut next = Instant::now();
        let mut attempts = JoinSet::new();
        let mut begun = 0;
        let mut problem = String::new();
        loop {
            tokio::select! {
                biased;
                Some(Ok((index, outcome))) = attempts.join_next() => match outcome {
                    Ok(value) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(Answer { value, repeated: begun > 1 });
                    }
                    Err(error) => {
                        let at = &self.members[index].endpoint;
                        if !is_away(&error) {
                            return Err(StoreError::Failed(format!("etcd at {at}: {}", describe(&error))));
                        }
                        problem = format!("; {at}: {}", describe(&error));
                        let pause = if begun % self.members.len() == 0 { PAUSE } else { Duration::ZERO };
                        next = next.min(Instant::now() + pause);
                    }
                },
                () = sleep_until(deadline.into()) => {
                    return Err(StoreError::Unavailable(format!("etcd did not answer within {:?}{problem}", self.call)));
                }
                () = sleep_until(next.into()) => {
                    let index = (first + begun) % self.members.len();
                    let (members, call) = (self.clone(), call.clone());
                    attempts.spawn(async move {
                        let answer = async { call(members.client(index).await?).await };
                        (index, answer.await)
                    });
                    begun += 1;
                    next = Instant::now() + patience;
                }
            }
        }
    }
}

/// Whether the same call may succeed at another member or later.
fn is_away(error: &EtcdError) -> bool {
    match error {
        EtcdError::GRpcStatus(status) => match status.code() {
            // A member without a leader, or one that is going down, says so in many words.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => true,
            // Its disk is full or its queue is: it may not stay so. A message that is too large does.
            Code::ResourceExhausted => !status.message().contains("larger than max"),
            // The lease of a campaign has ended before its turn came.
            Code::NotFound => status.message().contains("lease not found"),
            // The revision of a list that went on for too long.
            Code::OutOfRange => status.message().contains("has been compacted"),
            _ => false,
        },
        EtcdError::TransportError(_) | EtcdError::IoError(_) | EtcdError::WatchError(_) => true,
        _ => false,
    }
}

/// In its own words, with what lies behind it: "transport error" alone says little.
fn describe(error: &EtcdError) -> String {
    match error {
        EtcdError::GRpcStatus(status) => with_causes(status.message().to_owned(), status.source()),
        EtcdError::TransportError(error) => with_causes(error.to_string(), error.source()),
        other => with_causes(other.to_string(), other.source()),
    }
}

fn with_causes(mut words: String, mut source: Option<&(dyn Error + 'static)>) -> String {
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}

/// Its calls may be made from any thread: etcd is spoken to on a thread of the store's own.
pub struct EtcdStore {
    members: Arc<Members>,
    options: EtcdOptions,
    /// Leases of this store's campaigns: a lead that is held by one of them is ours, whatever was heard of it.
    campaigns: Mutex<Vec<i64>>,
    runtime: Handle,
    /// Dropped with the store; then the thread ends.
    _alive: oneshot::Sender<()>,
}

impl EtcdStore {
    /// Nobody is called yet: until a member answers, calls fail with [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// Options that cannot be right, certificates and keys included.
    pub fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        options.check()?;
        let failed = |error: std::io::Error| StoreError::Failed(format!("failed to start the thread of etcd: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, dropped) = oneshot::channel::<()>();
        thread::Builder::new().name("etcd".into()).spawn(move || runtime.block_on(dropped)).map_err(failed)?;
        let members = Arc::new(Members::new(&options));
        Ok(Self { members, options, campaigns: Mutex::default(), runtime: handle, _alive: alive })
    }

    /// The same, when a member answers.
    ///
    /// # Errors
    /// As [`EtcdStore::new`]; a user that etcd refuses; [`StoreError::Unavailable`] when no endpoint answers.
    pub fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        let store = Self::new(options)?;
        store.leader().map_err(|error| {
            let endpoints = store.options.endpoints.join(", ");
            match error {
                StoreError::Unavailable(problem) => StoreError::Unavailable(format!("none of {endpoints}: {problem}")),
                StoreError::Failed(problem) => StoreError::Failed(format!("none of {endpoints}: {problem}")),
                other => other,
            }
        })?;
        Ok(store)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.options.prefix)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.options.call
    }

    fn call<T, F, C>(&self, deadline: Instant, call: C) -> Result<Answer<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EtcdError>> + Send + 'static,
        C: Fn(Client) -> F + Clone + Send + Sync + 'static,
    {
        let (answer, answered) = mpsc::channel();
        let members = self.members.clone();
        self.runtime.spawn(async move {
            let _ = answer.send(members.ask(deadline, call).await);
        });
        answered.recv().unwrap_or_else(|_| Err(StoreError::Unavailable("the thread of etcd has ended".into())))
    }

    fn get(&self, deadline: Instant, key: String) -> Result<Option<KeyValue>, StoreError> {
        let mut answer = self.call(deadline, move |client| {
            let key = key.clone();
            async move { kv(&client).get(key, None).await }
        })?;
        Ok(answer.value.take_kvs().pop())
    }

    fn transact(&self, deadline: Instant, txn: Txn) -> Result<Answer<TxnResponse>, StoreError> {
        self.call(deadline, move |client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await }
        })
    }

    fn leads(&self, term: Term) -> Compare {
        Compare::create_revision(self.key(LEADER), CompareOp::Equal, term.0 as i64)
    }

    /// As [`StateStore::renew`], until then.
    fn renew_until(&self, deadline: Instant, term: Term) -> Result<(), StoreError> {
        loop {
            let held = self.get(deadline, self.key(LEADER))?.filter(|held| term_of(held) == term);
            let lease = held.ok_or(StoreError::Deposed(term))?.lease();
            let kept = self.call(deadline, move |client| async move {
                match client.lease_client().keep_alive(lease).await {
                    Ok(_) => Ok(true),
                    Err(EtcdError::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                }
            })?;
            if kept.value {
                return Ok(());
            }
            // Either the lease has just ended, or who answered has yet to hear of it: the key tells.
            thread::sleep(PAUSE);
        }
    }

    /// Whether a campaign of this store, won or of unknown outcome, is what holds the lead.
    fn is_ours(&self, held: &KeyValue, address: &str) -> bool {
        let campaigns = self.campaigns.lock().unwrap_or_else(PoisonError::into_inner);
        held.value() == address.as_bytes() && campaigns.contains(&held.lease())
    }

    fn remember_campaign(&self, lease: i64) {
        let mut campaigns = self.campaigns.lock().unwrap_or_else(PoisonError::into_inner);
        if campaigns.len() == CAMPAIGNS_KEPT {
            campaigns.remove(0);
        }
        campaigns.push(lease);
    }
}

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_ANSWER)
}

fn term_of(leader: &KeyValue) -> Term {
    Term(leader.create_revision() as u64)
}

fn leader_of(leader: &KeyValue) -> Leader {
    Leader { address: String::from_utf8_lossy(leader.value()).into_owned(), term: term_of(leader) }
}

fn value_of(entry: &KeyValue) -> (Vec<u8>, Version) {
    (entry.value().to_vec(), entry.version() as Version)
}

/// What the reads of a transaction found, in their order.
fn found_in(answer: &TxnResponse) -> Vec<Option<KeyValue>> {
    let found = answer.op_responses().into_iter().filter_map(|response| match response {
        TxnOpResponse::Get(get) => Some(get.kvs().first().cloned()),
        _ => None,
    });
    found.collect()
}

impl StateStore for EtcdStore {
    /// Up to 127 writes at once, by etcd's `--max-txn-ops` of 128, and 1.5 MiB in all, by its `--max-request-bytes`.
    fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
        check_size(writes)?;
        if writes.len() > WRITES_AT_ONCE {
            let count = writes.len();
            return Err(StoreError::Failed(format!("{count} writes at once; etcd takes at most {WRITES_AT_ONCE}")));
        }
        if writes.iter().any(|write| write.key == LEADER) {
            return Err(StoreError::Failed(format!("the key `{LEADER}` is the lead's")));
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
        let mut otherwise = vec![TxnOp::get(self.key(LEADER), None)];
        otherwise.extend(writes.iter().map(|write| TxnOp::get(self.key(&write.key), None)));
        let txn = Txn::new().when(compares).and_then(then.collect::<Vec<_>>()).or_else(otherwise);
        let answer = self.transact(self.deadline(), txn)?;
        if answer.value.succeeded() {
            return Ok(());
        }
        // What was there instead, read in the same transaction.
        let mut found = found_in(&answer.value).into_iter();
        let leader = found.next().flatten();
        let found: Vec<_> = found.map(|entry| entry.as_ref().map(value_of)).collect();
        let at =
            |key: &str| found[writes.iter().position(|write| write.key == key).expect("it is one of them")].clone();
        let conflict = first_conflict(writes, |key| at(key).map(|(_, version)| version));
        if leader.as_ref().map(term_of) != Some(term) {
            return match conflict {
                Some(_) if answer.repeated => {
                    Err(StoreError::Unavailable(format!("the answer was lost as term {} ended", term.0)))
                }
                _ => Err(StoreError::Deposed(term)),
            };
        }
        match conflict {
            Some(write) if !happened(writes, at) => Err(StoreError::Conflict(write.key.clone())),
            _ => Ok(()),
        }
    }

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        Ok(self.get(self.deadline(), self.key(key))?.as_ref().map(value_of))
    }

    fn page(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, StoreError> {
        let begin = self.key(prefix);
        let end = end_of_prefix(&begin);
        let mut from = if after.is_empty() { begin.into_bytes() } else { behind(self.key(after).as_bytes()) };
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE as i64);
            let page = self.call(self.deadline(), move |client| {
                let (from, options) = (from.clone(), options.clone());
                async move { kv(&client).get(from, Some(options)).await }
            })?;
            let page = page.value;
            let entries = page.kvs().iter().filter_map(|entry| {
                let key = String::from_utf8_lossy(&entry.key()[self.options.prefix.len()..]).into_owned();
                let (value, version) = value_of(entry);
                (key != LEADER).then_some((key, value, version))
            });
            let entries: Vec<Entry> = entries.collect();
            match page.kvs().last() {
                Some(last) if page.more() && entries.is_empty() => from = behind(last.key()),
                _ => return Ok(entries),
            }
        }
    }

    /// The lease lasts whole seconds, and no less than etcd's shortest: 1.5 of its election timeouts, rounded up.
    fn campaign(&self, address: &str, lease: Duration) -> Result<Leader, StoreError> {
        let deadline = self.deadline();
        if let Some(held) = self.get(deadline, self.key(LEADER))? {
            if !self.is_ours(&held, address) {
                return Ok(leader_of(&held));
            }
            // Won before, and its answer may have been lost: it is a lead for a whole lease again.
            match self.renew_until(deadline, term_of(&held)) {
                Err(StoreError::Deposed(_)) => {}
                renewed => return renewed.map(|()| leader_of(&held)),
            }
        }
        let seconds = lease.as_millis().div_ceil(1000).max(1) as i64;
        let grant =
            self.call(deadline, move |client| async move { client.lease_client().grant(seconds, None).await })?;
        let granted = grant.value.id();
        self.remember_campaign(granted);
        let key = self.key(LEADER);
        let put = TxnOp::put(key.clone(), address, Some(PutOptions::new().with_lease(granted)));
        let txn = Txn::new()
            .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([put, TxnOp::get(key.clone(), None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.transact(deadline, txn)?.value;
        let held = found_in(&answer).pop().flatten();
        let held = held.ok_or_else(|| StoreError::Failed("etcd does not show the lead that it gave".into()))?;
        if held.lease() != granted {
            let members = self.members.clone();
            self.runtime.spawn(async move {
                let revoke = move |client: Client| async move { client.lease_client().revoke(granted).await };
                // Nobody waits for it: it ends by itself otherwise.
                let _ = members.ask(deadline, revoke).await;
            });
        }
        Ok(leader_of(&held))
    }

    fn leader(&self) -> Result<Option<Leader>, StoreError> {
        Ok(self.get(self.deadline(), self.key(LEADER))?.as_ref().map(leader_of))
    }

    fn renew(&self, term: Term) -> Result<(), StoreError> {
        self.renew_until(self.deadline(), term)
    }

    fn resign(&self, term: Term) -> Result<(), StoreError> {
        let txn = Txn::new().when([self.leads(term)]).and_then([TxnOp::delete(self.key(LEADER), None)]);
        self.transact(self.deadline(), txn).map(drop)
    }

    fn watch_leader(&self) -> Result<Receiver<()>, StoreError> {
        let (watcher, changes) = mpsc::channel();
        let key = self.key(LEADER);
        let watch = self.call(self.deadline(), move |client| {
            let key = key.clone();
            async move { client.watch_client().watch(key, None).await }
        })?;
        let mut stream = watch.value;
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

/// The first key after this one.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, b"\0"].concat()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: EtcdOptions) -> String {
        EtcdStore::connect(options).err().expect("refused").to_string()
    }

    #[test]
    fn options_that_cannot_be_right_are_refused_before_anybody_is_called() {
        assert!(refusal(EtcdOptions::new(vec![], "a/")).contains("no endpoints"));
        for endpoint in ["ftp://10.0.0.1:2379", "10.0.0.1:2379", "http://", "unix:///etcd", "", "http://a b"] {
            assert!(refusal(EtcdOptions::new(vec![endpoint.into()], "a/")).contains("must look like"), "{endpoint}");
        }
        assert!(refusal(EtcdOptions::new(vec!["https://10.0.0.1:2379".into()], "a/")).contains("authority"));
        let mut options = EtcdOptions::new(vec!["http://10.0.0.1:2379".into()], "a/");
        options.tls = Some(EtcdTls { ca: String::new(), client: None });
        assert!(refusal(options).contains("https"));
    }

    #[test]
    fn passwords_and_keys_are_not_shown() {
        let mut options = EtcdOptions::new(vec!["https://10.0.0.1:2379".into()], "a/");
        options.user = Some(("rewind".into(), "open-sesame".into()));
        options.tls = Some(EtcdTls { ca: "authority".into(), client: Some(("public".into(), "private".into())) });
        let shown = format!("{options:?}");
        assert!(shown.contains("rewind") && shown.contains("10.0.0.1"), "{shown}");
        assert!(!shown.contains("open-sesame") && !shown.contains("private"), "{shown}");
    }

    #[test]
    fn only_what_may_succeed_later_is_tried_again() {
        let says = |code, message: &str| is_away(&EtcdError::GRpcStatus(tonic::Status::new(code, message)));
        assert!(says(Code::Unavailable, "etcdserver: no leader"));
        assert!(says(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"));
        assert!(!says(Code::ResourceExhausted, "grpc: received message larger than max (2097258 vs. 2097152)"));
        assert!(says(Code::NotFound, "etcdserver: requested lease not found"));
        assert!(says(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"));
        assert!(!says(Code::OutOfRange, "Error, decoded message length too large: found 6291728 bytes"));
        assert!(!says(Code::InvalidArgument, "etcdserver: request is too large"));
        assert!(!says(Code::PermissionDenied, "etcdserver: permission denied"));
    }
}
