//! The rendezvous store as a worker sees it: served by the coordinator.

use std::time::Duration;

use rewind_collective::{RendezvousStore, StoreError};
use rewind_job::Assignment;
use rewind_proto::v1::{
    AddRequest, CompareSetRequest, GetRequest, KeyRequest, SetRequest, Work, rendezvous_client::RendezvousClient,
};
use tokio::runtime::Handle;
use tonic::{Code, Request, Status, transport::Channel};

/// Longest that a call which need not wait may take.
const CALL: Duration = Duration::from_secs(5);

/// The store of one generation. Its calls block: the compute thread makes them.
pub struct CoordinatorStore {
    client: RendezvousClient<Channel>,
    runtime: Handle,
    work: Work,
}

impl CoordinatorStore {
    pub fn new(channel: Channel, runtime: Handle, assignment: &Assignment) -> Self {
        let work = Work { job: assignment.job.0.clone(), generation: assignment.generation.0 };
        Self { client: RendezvousClient::new(channel), runtime, work }
    }

    fn work(&self) -> Option<Work> {
        Some(self.work.clone())
    }
}

fn request<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn unavailable(status: Status) -> StoreError {
    StoreError::Unavailable { detail: status.message().to_owned() }
}

impl RendezvousStore for CoordinatorStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let message = SetRequest { work: self.work(), key: key.to_owned(), value: value.to_vec() };
        let call = self.runtime.block_on(self.client.clone().set(request(message, CALL)));
        call.map(drop).map_err(unavailable)
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, StoreError> {
        let timeout_ms = timeout.as_millis() as u64;
        let message = GetRequest { work: self.work(), key: key.to_owned(), timeout_ms };
        match self.runtime.block_on(self.client.clone().get(request(message, timeout + CALL))) {
            Ok(value) => Ok(value.into_inner().value),
            Err(status) if status.code() == Code::DeadlineExceeded => {
                Err(StoreError::TimedOut { key: key.to_owned(), timeout })
            }
            Err(status) => Err(unavailable(status)),
        }
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        let message = AddRequest { work: self.work(), key: key.to_owned(), amount };
        let call = self.runtime.block_on(self.client.clone().add(request(message, CALL)));
        call.map(|count| count.into_inner().count).map_err(unavailable)
    }

    fn check(&self, key: &str) -> Result<bool, StoreError> {
        let message = KeyRequest { work: self.work(), key: key.to_owned() };
        let call = self.runtime.block_on(self.client.clone().check(request(message, CALL)));
        call.map(|flag| flag.into_inner().flag).map_err(unavailable)
    }

    fn delete(&self, key: &str) -> Result<bool, StoreError> {
        let message = KeyRequest { work: self.work(), key: key.to_owned() };
        let call = self.runtime.block_on(self.client.clone().delete(request(message, CALL)));
        call.map(|flag| flag.into_inner().flag).map_err(unavailable)
    }

    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, StoreError> {
        let message = CompareSetRequest {
            work: self.work(),
            key: key.to_owned(),
            expected: expected.to_vec(),
            desired: desired.to_vec(),
        };
        let call = self.runtime.block_on(self.client.clone().compare_set(request(message, CALL)));
        call.map(|value| value.into_inner().value).map_err(unavailable)
    }
}
