// What needs CUDA's own libraries: NCCL's process group, and a bound on a device's memory. A shared object of its own
// (librewind_cuda.so), opened when a worker computes on a GPU.
//
// No exception leaves a function of this file: it is copied into a RewindError.

#include "../collective/src/shim.h"

#include <cstdlib>

#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

extern "C" {

// Bounds what libtorch's allocator takes of a device; more is an error that says so.
int32_t rewind_cuda_limit_memory(int32_t device, uint64_t bytes, RewindError* error) noexcept {
  try {
    const auto index = static_cast<c10::DeviceIndex>(device);
    at::globalContext().lazyInitDevice(at::kCUDA);
    const auto total = c10::cuda::CUDACachingAllocator::get()->getMemoryInfo(index).second;
    const double fraction = total == 0 ? 1.0 : static_cast<double>(bytes) / static_cast<double>(total);
    c10::cuda::CUDACachingAllocator::setMemoryFraction(std::min(fraction, 1.0), index);
    return 0;
  } catch (...) {
    fill(error, std::current_exception());
    return 1;
  }
}

// Writes the device's model into `answer`'s message.
int32_t rewind_cuda_name(int32_t device, RewindError* answer) noexcept {
  try {
    fill(answer, REWIND_ERROR_OTHER, at::cuda::getDeviceProperties(static_cast<c10::DeviceIndex>(device))->name);
    return 0;
  } catch (...) {
    fill(answer, std::current_exception());
    return 1;
  }
}

// How NCCL's process groups meet trouble. Deadlines, aborts and the death of a process are the worker's and the
// coordinator's business; libtorch's watchdog must not end the process on its own. To be called before other threads
// run; what the user has set stays.
void rewind_cuda_settings() noexcept {
  // Communicators of failed work are aborted, and the process lives.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", 0);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
  setenv("TORCH_NCCL_PROPAGATE_ERROR", "0", 0);
  setenv("TORCH_NCCL_RETHROW_CUDA_ERRORS", "0", 0);
  setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", 0);
}

// Writes into `answer`'s message why CUDA sees no device: an old driver, for one.
void rewind_cuda_why_none(RewindError* answer) noexcept {
  try {
    c10::cuda::device_count_ensure_non_zero();
    fill(answer, REWIND_ERROR_OTHER, "");
  } catch (...) {
    fill(answer, std::current_exception());
  }
}

// Takes the store over, whatever the outcome. Waits for all ranks.
RewindGroup* rewind_nccl_connect(
    const RewindStore* store,
    int32_t rank,
    int32_t world_size,
    int32_t device,
    int64_t timeout_ms,
    RewindError* error) noexcept {
  try {
    const auto timeout = std::chrono::milliseconds(timeout_ms);
    auto rendezvous = c10::make_intrusive<CallbackStore>(*store, timeout);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = timeout;
    auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(rendezvous, rank, world_size, options);
    // NCCL waits for who does not come without an end: all meet in the store first, where waiting can be cut off.
    if (rendezvous->add("arrived", 1) == world_size) {
      rendezvous->set("all-arrived", std::vector<uint8_t>{1});
    }
    rendezvous->wait({"all-arrived"});
    // Now, and not within the first operation.
    nccl->eagerConnectSingleDevice(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
    auto group = std::make_unique<RewindGroup>();
    group->backend = nccl;
    return group.release();
  } catch (...) {
    fill(error, std::current_exception());
    return nullptr;
  }
}

} // extern "C"
