//! Where ranks find each other: a small store for each generation, gone with it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rewind_job::{Generation, JobId};
use rewind_proto::v1::{
    AddRequest, CompareSetRequest, Count, Empty, Flag, GetRequest, KeyRequest, SetRequest, Value, Work,
    rendezvous_server::Rendezvous,
};
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

/// Longest wait that one call may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Bytes of the largest value: addresses of ranks are small.
const LARGEST_VALUE: usize = 1 << 20;
/// Bytes that one generation may store.
const LARGEST_MEETING: usize = 256 << 20;

#[derive(Default)]
struct Meeting {
    values: Mutex<HashMap<String, Vec<u8>>>,
    /// A value changed, or the meeting was closed.
    changed: Notify,
    closed: AtomicBool,
}

impl Meeting {
    fn values(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the key is set; none when the meeting is closed before.
    async fn value(&self, key: &str) -> Option<Vec<u8>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens before it looks, so that no change is missed.
            changed.as_mut().enable();
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            if let Some(value) = self.values().get(key) {
                return Some(value.clone());
            }
            changed.await;
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}

fn insert(values: &mut HashMap<String, Vec<u8>>, key: String, value: Vec<u8>) -> Result<(), Status> {
    if value.len() > LARGEST_VALUE {
        return Err(Status::invalid_argument(format!("`{key}` is larger than {LARGEST_VALUE} bytes")));
    }
    let stored: usize = values.iter().map(|(key, value)| key.len() + value.len()).sum();
    if stored + key.len() + value.len() > LARGEST_MEETING {
        return Err(Status::resource_exhausted(format!("a generation may store {LARGEST_MEETING} bytes")));
    }
    values.insert(key, value);
    Ok(())
}

fn closed(job: &str, generation: u64) -> Status {
    Status::failed_precondition(format!("generation {generation} of {job} does not meet any more"))
}

/// The stores of all generations that may still meet.
#[derive(Default)]
pub struct Meetings {
    open: Mutex<HashMap<JobId, (Generation, Arc<Meeting>)>>,
}

impl Meetings {
    /// Opens a generation's store, and closes older ones of the same job.
    pub fn open(&self, job: &JobId, generation: Generation) {
        let mut open = self.lock();
        if open.get(job).is_none_or(|(present, _)| *present < generation) {
            let older = open.insert(job.clone(), (generation, Arc::default()));
            older.inspect(|(_, meeting)| meeting.close());
        }
    }

    /// Who waits under this generation, or an older one, is told at once.
    pub fn close(&self, job: &JobId, generation: Generation) {
        let mut open = self.lock();
        if open.get(job).is_some_and(|(present, _)| *present <= generation) {
            open.remove(job).inspect(|(_, meeting)| meeting.close());
        }
    }

    /// Another coordinator leads now: its gangs meet there.
    pub fn close_all(&self) {
        for (_, (_, meeting)) in self.lock().drain() {
            meeting.close();
        }
    }

    fn find(&self, work: Option<Work>) -> Result<Arc<Meeting>, Status> {
        let work = work.ok_or_else(|| Status::invalid_argument("a message lacks its `work`"))?;
        match self.lock().get(&JobId(work.job.clone())) {
            Some((present, meeting)) if present.0 == work.generation => Ok(meeting.clone()),
            _ => Err(closed(&work.job, work.generation)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, (Generation, Arc<Meeting>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gRPC side.
pub struct RendezvousService(pub Arc<Meetings>);

#[tonic::async_trait]
impl Rendezvous for RendezvousService {
    async fn set(&self, request: Request<SetRequest>) -> Result<Response<Empty>, Status> {
        let SetRequest { work, key, value } = request.into_inner();
        let meeting = self.0.find(work)?;
        insert(&mut meeting.values(), key, value)?;
        meeting.changed.notify_waiters();
        Ok(Response::new(Empty {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Value>, Status> {
        let GetRequest { work, key, timeout_ms } = request.into_inner();
        let (job, generation) = work.as_ref().map(|work| (work.job.clone(), work.generation)).unwrap_or_default();
        let meeting = self.0.find(work)?;
        let timeout = Duration::from_millis(timeout_ms).min(LONGEST_WAIT);
        match tokio::time::timeout(timeout, meeting.value(&key)).await {
            Ok(Some(value)) => Ok(Response::new(Value { value })),
            Ok(None) => Err(closed(&job, generation)),
            Err(_) => Err(Status::deadline_exceeded(format!("nobody set `{key}`"))),
        }
    }

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<Count>, Status> {
        let AddRequest { work, key, amount } = request.into_inner();
        let meeting = self.0.find(work)?;
        let count = {
            let mut values = meeting.values();
            let before = match values.get(&key) {
                None => 0,
                Some(bytes) => std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok())
                    .ok_or_else(|| Status::invalid_argument(format!("`{key}` holds no number")))?,
            };
            let sum = before.wrapping_add(amount);
            insert(&mut values, key, sum.to_string().into_bytes())?;
            sum
        };
        meeting.changed.notify_waiters();
        Ok(Response::new(Count { count }))
    }

    async fn check(&self, request: Request<KeyRequest>) -> Result<Response<Flag>, Status> {
        let KeyRequest { work, key } = request.into_inner();
        let flag = self.0.find(work)?.values().contains_key(&key);
        Ok(Response::new(Flag { flag }))
    }

    async fn delete(&self, request: Request<KeyRequest>) -> Result<Response<Flag>, Status> {
        let KeyRequest { work, key } = request.into_inner();
        let flag = self.0.find(work)?.values().remove(&key).is_some();
        Ok(Response::new(Flag { flag }))
    }

    async fn compare_set(&self, request: Request<CompareSetRequest>) -> Result<Response<Value>, Status> {
        let CompareSetRequest { work, key, expected, desired } = request.into_inner();
        let meeting = self.0.find(work)?;
        let value = {
            let mut values = meeting.values();
            match values.get(&key) {
                Some(current) if *current != expected => current.clone(),
                None if !expected.is_empty() => expected,
                _ => {
                    insert(&mut values, key, desired.clone())?;
                    desired
                }
            }
        };
        meeting.changed.notify_waiters();
        Ok(Response::new(Value { value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> RendezvousService {
        let meetings = Arc::new(Meetings::default());
        meetings.open(&"job-1".into(), Generation(2));
        RendezvousService(meetings)
    }

    fn work(generation: u64) -> Option<Work> {
        Some(Work { job: "job-1".into(), generation })
    }

    async fn set(service: &RendezvousService, generation: u64, key: &str, value: &[u8]) -> Result<(), Status> {
        let request = SetRequest { work: work(generation), key: key.into(), value: value.into() };
        service.set(Request::new(request)).await.map(drop)
    }

    async fn get(service: &RendezvousService, generation: u64, key: &str, timeout_ms: u64) -> Result<Vec<u8>, Status> {
        let request = GetRequest { work: work(generation), key: key.into(), timeout_ms };
        service.get(Request::new(request)).await.map(|value| value.into_inner().value)
    }

    async fn add(service: &RendezvousService, amount: i64) -> Result<i64, Status> {
        let request = AddRequest { work: work(2), key: "count".into(), amount };
        service.add(Request::new(request)).await.map(|count| count.into_inner().count)
    }

    async fn compare_set(service: &RendezvousService, expected: &[u8], desired: &[u8]) -> Vec<u8> {
        let (expected, desired) = (expected.into(), desired.into());
        let request = CompareSetRequest { work: work(2), key: "leader".into(), expected, desired };
        service.compare_set(Request::new(request)).await.expect("answers").into_inner().value
    }

    #[tokio::test]
    async fn who_asks_early_waits_for_the_value() {
        let service = service();
        let (value, ()) = tokio::join!(get(&service, 2, "a", 60_000), async {
            set(&service, 2, "b", b"0").await.expect("sets");
            set(&service, 2, "a", b"1").await.expect("sets");
        });
        assert_eq!(value.expect("gets"), b"1");
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_they_said() {
        let error = get(&service(), 2, "a", 1).await.expect_err("times out");
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(error.message(), "nobody set `a`");
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_generation_ends() {
        for end in [
            |m: &Meetings| m.close(&"job-1".into(), Generation(2)),
            |m: &Meetings| {
                m.open(&"job-1".into(), Generation(3));
            },
        ] {
            let service = service();
            let (value, ()) = tokio::join!(get(&service, 2, "a", 60_000), async { end(&service.0) });
            assert_eq!(value.expect_err("ended").code(), tonic::Code::FailedPrecondition);
        }
    }

    #[tokio::test]
    async fn other_generations_are_refused() {
        let service = service();
        for generation in [0, 1, 3] {
            let error = set(&service, generation, "a", b"1").await.expect_err("refused");
            assert_eq!(error.message(), format!("generation {generation} of job-1 does not meet any more"));
        }
        service.0.close(&"job-1".into(), Generation(1));
        set(&service, 2, "a", b"1").await.expect("an older end changes nothing");
        service.0.open(&"job-1".into(), Generation(2));
        assert_eq!(get(&service, 2, "a", 1).await.expect("opened again, it keeps its values"), b"1");
    }

    #[tokio::test]
    async fn numbers_add_up_and_values_compare() {
        let service = service();
        assert_eq!(add(&service, 2).await.expect("adds"), 2);
        assert_eq!(add(&service, -5).await.expect("adds"), -3);
        assert_eq!(get(&service, 2, "count", 1).await.expect("gets"), b"-3");
        set(&service, 2, "count", b"three").await.expect("sets");
        assert_eq!(add(&service, 1).await.expect_err("refused").message(), "`count` holds no number");

        assert_eq!(compare_set(&service, b"x", b"a").await, b"x");
        assert_eq!(compare_set(&service, b"", b"a").await, b"a");
        assert_eq!(compare_set(&service, b"x", b"b").await, b"a");
        assert_eq!(compare_set(&service, b"a", b"b").await, b"b");

        let key = || Request::new(KeyRequest { work: work(2), key: "leader".into() });
        assert!(service.check(key()).await.expect("checks").into_inner().flag);
        assert!(service.delete(key()).await.expect("deletes").into_inner().flag);
        assert!(!service.delete(key()).await.expect("deletes").into_inner().flag);
        assert!(!service.check(key()).await.expect("checks").into_inner().flag);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused() {
        let error = set(&service(), 2, "a", &vec![0; LARGEST_VALUE + 1]).await.expect_err("refused");
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
    }
}
