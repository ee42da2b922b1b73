//! Where ranks find each other: a small store for each generation, gone with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
/// Bytes a generation may store: addresses of ranks are small.
const LARGEST_VALUE: usize = 1 << 20;

#[derive(Default)]
struct Meeting {
    values: Mutex<HashMap<String, Vec<u8>>>,
    changed: Notify,
}

impl Meeting {
    fn values(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            open.insert(job.clone(), (generation, Arc::default()));
        }
    }

    pub fn close(&self, job: &JobId, generation: Generation) {
        let mut open = self.lock();
        if open.get(job).is_some_and(|(present, _)| *present <= generation) {
            open.remove(job);
        }
    }

    fn find(&self, work: Option<Work>) -> Result<Arc<Meeting>, Status> {
        let work = work.ok_or_else(|| Status::invalid_argument("a message lacks its `work`"))?;
        match self.lock().get(&JobId(work.job.clone())) {
            Some((present, meeting)) if present.0 == work.generation => Ok(meeting.clone()),
            _ => Err(Status::failed_precondition(format!(
                "generation {} of {} does not meet any more",
                work.generation, work.job
            ))),
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
        if value.len() > LARGEST_VALUE {
            return Err(Status::invalid_argument(format!("`{key}` is larger than {LARGEST_VALUE} bytes")));
        }
        let meeting = self.0.find(work)?;
        meeting.values().insert(key, value);
        meeting.changed.notify_waiters();
        Ok(Response::new(Empty {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Value>, Status> {
        let GetRequest { work, key, timeout_ms } = request.into_inner();
        let meeting = self.0.find(work)?;
        let wait = async {
            loop {
                let changed = meeting.changed.notified();
                tokio::pin!(changed);
                // Listens before it looks, so that no change is missed.
                changed.as_mut().enable();
                if let Some(value) = meeting.values().get(&key) {
                    return value.clone();
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_millis(timeout_ms).min(LONGEST_WAIT), wait).await {
            Ok(value) => Ok(Response::new(Value { value })),
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
            values.insert(key, sum.to_string().into_bytes());
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
                    values.insert(key, desired.clone());
                    desired
                }
            }
        };
        meeting.changed.notify_waiters();
        Ok(Response::new(Value { value }))
    }
}
