//! The C interface of the shims over libtorch. Beside `extension.rs` the only unsafe code.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rewind_job::{Rank, WorldSize};
use tch::{Device, Tensor};

use crate::store::{RendezvousStore, StoreError};

/// What a C++ exception said.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether a connection failed, or a wait on one timed out.
    pub(crate) is_connection: bool,
    pub(crate) message: String,
}

/// A process group of libtorch. Dropping it waits for what is in flight.
#[derive(Debug)]
pub(crate) struct Group(NonNull<RawGroup>);

/// An operation of a group; it keeps its tensors until it is dropped.
#[derive(Debug)]
pub(crate) struct Work(NonNull<RawWork>);

// SAFETY: a c10d process group and its work may be used and dropped on any thread; the only methods that need more
// than `&self` on the C++ side are called through a `Group` that one thread owns.
unsafe impl Send for Group {}
// SAFETY: as above; its state is guarded by a mutex of its own.
unsafe impl Send for Work {}

impl Group {
    /// What a constructor gave, or why it gave nothing.
    pub(crate) fn of(group: *mut RawGroup, error: &RawError) -> Result<Self, Failure> {
        NonNull::new(group).map(Self).ok_or_else(|| error.read())
    }

    /// Forms a Gloo group, waiting for all ranks.
    pub(crate) fn gloo(
        store: Arc<dyn RendezvousStore>,
        rank: Rank,
        world_size: WorldSize,
        bind_address: &str,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let failure = |message: &str| Failure { is_connection: false, message: message.to_owned() };
        let rank = i32::try_from(rank.0).map_err(|_| failure("the rank is too large"))?;
        let world_size = i32::try_from(world_size.0).map_err(|_| failure("the world is too large"))?;
        let bind_address = CString::new(bind_address).map_err(|_| failure("the bind address contains a zero byte"))?;
        let store = callbacks(store);
        let mut error = RawError::empty();
        // SAFETY: the pointers live through the call, and C++ takes the store's context over.
        let group = unsafe {
            rewind_gloo_connect(&store, rank, world_size, bind_address.as_ptr(), milliseconds(timeout), &mut error)
        };
        Self::of(group, &error)
    }

    /// Forms an NCCL group on a device, waiting for all ranks.
    pub(crate) fn nccl(
        store: Arc<dyn RendezvousStore>,
        rank: Rank,
        world_size: WorldSize,
        device: Device,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let failure = |message: String| Failure { is_connection: false, message };
        let Device::Cuda(index) = device else {
            return Err(failure(format!("NCCL connects GPUs, and this rank computes on {device:?}")));
        };
        let index = i32::try_from(index).map_err(|_| failure("the device's number is too large".to_owned()))?;
        let rank = i32::try_from(rank.0).map_err(|_| failure("the rank is too large".to_owned()))?;
        let world_size = i32::try_from(world_size.0).map_err(|_| failure("the world is too large".to_owned()))?;
        let extension = crate::cuda::extension().map_err(|error| failure(error.to_string()))?;
        extension.connect(store, rank, world_size, index, timeout)
    }

    pub(crate) fn reduce_scatter(&self, output: &Tensor, input: &Tensor) -> Result<Work, Failure> {
        // SAFETY: as in `all_reduce`.
        start(|error| unsafe { rewind_reduce_scatter(self.0.as_ptr(), pointer(output), pointer(input), error) })
    }

    pub(crate) fn all_reduce(&self, tensor: &Tensor) -> Result<Work, Failure> {
        // SAFETY: group and tensor are alive; C++ takes a reference of its own to the tensor.
        start(|error| unsafe { rewind_all_reduce(self.0.as_ptr(), pointer(tensor), error) })
    }

    pub(crate) fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Work, Failure> {
        // SAFETY: as in `all_reduce`.
        start(|error| unsafe { rewind_all_gather(self.0.as_ptr(), pointer(output), pointer(input), error) })
    }

    pub(crate) fn broadcast(&self, tensor: &Tensor, root: Rank) -> Result<Work, Failure> {
        // SAFETY: as in `all_reduce`; the root was found smaller than the world, which fits an i32.
        start(|error| unsafe { rewind_broadcast(self.0.as_ptr(), pointer(tensor), root.0 as i32, error) })
    }

    pub(crate) fn barrier(&self) -> Result<Work, Failure> {
        // SAFETY: the group is alive.
        start(|error| unsafe { rewind_barrier(self.0.as_ptr(), error) })
    }

    /// Fails whatever is in flight, here and at the peers.
    pub(crate) fn abort(&self) -> Result<(), Failure> {
        let mut error = RawError::empty();
        // SAFETY: the group is alive, and Gloo guards its connections by mutexes.
        match unsafe { rewind_group_abort(self.0.as_ptr(), &mut error) } {
            0 => Ok(()),
            _ => Err(error.read()),
        }
    }
}

impl Group {
    /// Leaves in order, waiting for the peers' last reads; nothing may be in flight.
    pub(crate) fn shut_down(&self) {
        // SAFETY: the group is alive.
        unsafe { rewind_group_shut_down(self.0.as_ptr()) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a constructor and is dropped once.
        unsafe { rewind_group_drop(self.0.as_ptr()) }
    }
}

impl Work {
    /// Whether the operation has ended well; never waits.
    pub(crate) fn poll(&self) -> Result<bool, Failure> {
        let mut error = RawError::empty();
        // SAFETY: the work is alive.
        match unsafe { rewind_work_poll(self.0.as_ptr(), &mut error) } {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(error.read()),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the pointer came from an operation and is dropped once.
        unsafe { rewind_work_drop(self.0.as_ptr()) }
    }
}

pub(crate) fn cuda_be_deterministic() -> Result<(), Failure> {
    // SAFETY: takes nothing, and fills the error.
    done(|error| unsafe { rewind_cuda_be_deterministic(error) })
}

/// Bytes of a device: free, and all.
pub(crate) fn cuda_memory(device: usize) -> Result<(u64, u64), Failure> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: the pointers live through the call.
    done(|error| unsafe { rewind_cuda_memory(device as i32, &mut free, &mut total, error) })?;
    Ok((free, total))
}

pub(crate) fn cuda_peak(device: usize) -> Result<u64, Failure> {
    let mut bytes = 0;
    // SAFETY: the pointer lives through the call.
    done(|error| unsafe { rewind_cuda_peak(device as i32, &mut bytes, error) })?;
    Ok(bytes)
}

pub(crate) fn cuda_forget_peak(device: usize) -> Result<(), Failure> {
    // SAFETY: takes a number alone, and fills the error.
    done(|error| unsafe { rewind_cuda_forget_peak(device as i32, error) })
}

pub(crate) fn done(call: impl FnOnce(&mut RawError) -> i32) -> Result<(), Failure> {
    let mut error = RawError::empty();
    match call(&mut error) {
        0 => Ok(()),
        _ => Err(error.read()),
    }
}

fn start(call: impl FnOnce(&mut RawError) -> *mut RawWork) -> Result<Work, Failure> {
    let mut error = RawError::empty();
    NonNull::new(call(&mut error)).map(Work).ok_or_else(|| error.read())
}

/// The `at::Tensor*` behind a tensor.
fn pointer(tensor: &Tensor) -> *const c_void {
    tensor.as_ptr().cast()
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}

#[repr(C)]
pub(crate) struct RawGroup {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawWork {
    _opaque: [u8; 0],
}

const CONNECTION_ERROR: i32 = 1;
const MESSAGE_LENGTH: usize = 2044;

#[repr(C)]
pub(crate) struct RawError {
    kind: i32,
    message: [c_char; MESSAGE_LENGTH],
}

impl RawError {
    pub(crate) fn empty() -> Self {
        Self { kind: 0, message: [0; MESSAGE_LENGTH] }
    }

    pub(crate) fn read(&self) -> Failure {
        // SAFETY: both sides end the message with a zero within its array.
        let message = unsafe { CStr::from_ptr(self.message.as_ptr()) };
        Failure { is_connection: self.kind == CONNECTION_ERROR, message: message.to_string_lossy().into_owned() }
    }

    fn write(&mut self, message: &str) {
        let bytes = message.bytes().filter(|&byte| byte != 0);
        let mut length = 0;
        for (place, byte) in self.message[..MESSAGE_LENGTH - 1].iter_mut().zip(bytes) {
            *place = byte as c_char;
            length += 1;
        }
        self.message[length] = 0;
    }
}

#[repr(C)]
pub(crate) struct RawStore {
    context: *mut c_void,
    set: extern "C" fn(*mut c_void, *const c_char, usize, *const u8, usize, *mut RawError) -> i32,
    get: extern "C" fn(*mut c_void, *const c_char, usize, i64, *mut c_void, *mut RawError) -> i32,
    wait: extern "C" fn(*mut c_void, *const c_char, usize, i64, *mut RawError) -> i32,
    add: extern "C" fn(*mut c_void, *const c_char, usize, i64, *mut i64, *mut RawError) -> i32,
    check: extern "C" fn(*mut c_void, *const c_char, usize, *mut i32, *mut RawError) -> i32,
    remove: extern "C" fn(*mut c_void, *const c_char, usize, *mut i32, *mut RawError) -> i32,
    #[allow(clippy::type_complexity)]
    compare_set: extern "C" fn(
        *mut c_void,
        *const c_char,
        usize,
        *const u8,
        usize,
        *const u8,
        usize,
        *mut c_void,
        *mut RawError,
    ) -> i32,
    release: extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    fn rewind_bytes_assign(bytes: *mut c_void, data: *const u8, length: usize);
    fn rewind_gloo_connect(
        store: *const RawStore,
        rank: i32,
        world_size: i32,
        bind_address: *const c_char,
        timeout_ms: i64,
        error: *mut RawError,
    ) -> *mut RawGroup;
    fn rewind_all_reduce(group: *mut RawGroup, tensor: *const c_void, error: *mut RawError) -> *mut RawWork;
    fn rewind_reduce_scatter(
        group: *mut RawGroup,
        output: *const c_void,
        input: *const c_void,
        error: *mut RawError,
    ) -> *mut RawWork;
    fn rewind_all_gather(
        group: *mut RawGroup,
        output: *const c_void,
        input: *const c_void,
        error: *mut RawError,
    ) -> *mut RawWork;
    fn rewind_broadcast(group: *mut RawGroup, tensor: *const c_void, root: i32, error: *mut RawError) -> *mut RawWork;
    fn rewind_barrier(group: *mut RawGroup, error: *mut RawError) -> *mut RawWork;
    fn rewind_work_poll(work: *mut RawWork, error: *mut RawError) -> i32;
    fn rewind_work_drop(work: *mut RawWork);
    fn rewind_group_abort(group: *mut RawGroup, error: *mut RawError) -> i32;
    fn rewind_group_shut_down(group: *mut RawGroup);
    fn rewind_group_drop(group: *mut RawGroup);
    fn rewind_cuda_be_deterministic(error: *mut RawError) -> i32;
    fn rewind_cuda_memory(device: i32, free: *mut u64, total: *mut u64, error: *mut RawError) -> i32;
    fn rewind_cuda_peak(device: i32, bytes: *mut u64, error: *mut RawError) -> i32;
    fn rewind_cuda_forget_peak(device: i32, error: *mut RawError) -> i32;
}

/// The store as C++ calls it; whoever takes this over calls `release` once.
pub(crate) fn callbacks(store: Arc<dyn RendezvousStore>) -> RawStore {
    RawStore {
        context: Box::into_raw(Box::new(store)).cast(),
        set: store_set,
        get: store_get,
        wait: store_wait,
        add: store_add,
        check: store_check,
        remove: store_remove,
        compare_set: store_compare_set,
        release: store_release,
    }
}

/// Runs one call of the store; errors and panics become an error of the shim.
fn answer<T>(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    error: *mut RawError,
    call: impl FnOnce(&dyn RendezvousStore, &str) -> Result<T, StoreError>,
    deliver: impl FnOnce(T),
) -> i32 {
    // SAFETY: the context is the box of `callbacks`, which lives until `store_release`.
    let store = unsafe { &*context.cast::<Arc<dyn RendezvousStore>>() };
    let key = String::from_utf8_lossy(bytes(key.cast(), key_length));
    let message = match catch_unwind(AssertUnwindSafe(|| call(store.as_ref(), &key))) {
        Ok(Ok(value)) => {
            deliver(value);
            return 0;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the rendezvous store panicked at {key}"),
    };
    // SAFETY: C++ passes a live error that nobody else uses.
    unsafe { &mut *error }.write(&message);
    1
}

/// Bytes that C++ lends for the time of a call.
fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: C++ passes the data and size of a string or vector that lives through the call.
    unsafe { std::slice::from_raw_parts(data, length) }
}

/// Copies `value` into a vector of C++.
fn assign(vector: *mut c_void, value: &[u8]) {
    // SAFETY: C++ passes a live `std::vector<uint8_t>`, which copies the bytes.
    unsafe { rewind_bytes_assign(vector, value.as_ptr(), value.len()) }
}

/// Writes into a number of C++.
fn write<T>(place: *mut T, value: T) {
    // SAFETY: C++ passes the address of a live number.
    unsafe { place.write(value) }
}

fn timeout(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

extern "C" fn store_set(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    value: *const u8,
    value_length: usize,
    error: *mut RawError,
) -> i32 {
    let set = |store: &dyn RendezvousStore, key: &str| store.set(key, bytes(value, value_length));
    answer(context, key, key_length, error, set, |()| ())
}

extern "C" fn store_get(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    timeout_ms: i64,
    value: *mut c_void,
    error: *mut RawError,
) -> i32 {
    let get = |store: &dyn RendezvousStore, key: &str| store.get(key, timeout(timeout_ms));
    answer(context, key, key_length, error, get, |found: Vec<u8>| assign(value, &found))
}

extern "C" fn store_wait(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    timeout_ms: i64,
    error: *mut RawError,
) -> i32 {
    let wait = |store: &dyn RendezvousStore, key: &str| store.wait(key, timeout(timeout_ms));
    answer(context, key, key_length, error, wait, |()| ())
}

extern "C" fn store_add(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    amount: i64,
    sum: *mut i64,
    error: *mut RawError,
) -> i32 {
    let add = |store: &dyn RendezvousStore, key: &str| store.add(key, amount);
    answer(context, key, key_length, error, add, |found| write(sum, found))
}

extern "C" fn store_check(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    present: *mut i32,
    error: *mut RawError,
) -> i32 {
    let check = |store: &dyn RendezvousStore, key: &str| store.check(key);
    answer(context, key, key_length, error, check, |found| write(present, i32::from(found)))
}

extern "C" fn store_remove(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    removed: *mut i32,
    error: *mut RawError,
) -> i32 {
    let delete = |store: &dyn RendezvousStore, key: &str| store.delete(key);
    answer(context, key, key_length, error, delete, |found| write(removed, i32::from(found)))
}

extern "C" fn store_compare_set(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    expected: *const u8,
    expected_length: usize,
    desired: *const u8,
    desired_length: usize,
    value: *mut c_void,
    error: *mut RawError,
) -> i32 {
    let compare_set = |store: &dyn RendezvousStore, key: &str| {
        store.compare_set(key, bytes(expected, expected_length), bytes(desired, desired_length))
    };
    answer(context, key, key_length, error, compare_set, |found: Vec<u8>| assign(value, &found))
}

extern "C" fn store_release(context: *mut c_void) {
    // SAFETY: the context is the box of `callbacks`, released once, by the destructor of the C++ store.
    drop(unsafe { Box::from_raw(context.cast::<Arc<dyn RendezvousStore>>()) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_and_ends_with_a_zero() {
        let mut error = RawError::empty();
        error.write(&"x".repeat(3 * MESSAGE_LENGTH));
        assert_eq!(error.read().message.len(), MESSAGE_LENGTH - 1);
        error.write("short");
        assert_eq!(error.read().message, "short");
        assert!(!error.read().is_connection);
        error.kind = CONNECTION_ERROR;
        assert!(error.read().is_connection);
    }
}
