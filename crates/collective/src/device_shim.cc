// What a CUDA device has and how it computes, asked of libtorch without CUDA's own headers: they answer for whatever
// stands behind libtorch's CUDA device type.

#include "shim.h"

#include <cstdlib>

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace {

c10::DeviceAllocator* allocator() {
  at::globalContext().lazyInitDevice(at::kCUDA);
  return c10::getDeviceAllocator(at::kCUDA);
}

template <typename Ask>
int32_t answer(RewindError* error, Ask ask) noexcept {
  try {
    ask();
    return 0;
  } catch (...) {
    fill(error, std::current_exception());
    return 1;
  }
}

} // namespace

extern "C" {

// The same bits for the same work: no kernel is chosen by timing it, none adds in whatever order, none rounds to TF32.
int32_t rewind_cuda_be_deterministic(RewindError* error) noexcept {
  return answer(error, [] {
    // cuBLAS adds in one order only with a workspace of a fixed size; it is read when cuBLAS is first used.
    setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8", 0);
    auto& context = at::globalContext();
    context.setBenchmarkCuDNN(false);
    context.setDeterministicCuDNN(true);
    context.setAllowTF32CuDNN(false);
    context.setAllowTF32CuBLAS(false);
    // An operation without a deterministic kernel warns instead of ending the job.
    context.setDeterministicAlgorithms(true, /*warn_only=*/true);
    context.setDeterministicFillUninitializedMemory(false);
  });
}

int32_t rewind_cuda_memory(int32_t device, uint64_t* free, uint64_t* total, RewindError* error) noexcept {
  return answer(error, [&] {
    const auto [now, all] = allocator()->getMemoryInfo(static_cast<c10::DeviceIndex>(device));
    *free = now;
    *total = all;
  });
}

// The most bytes that tensors held at once since the peak was last forgotten.
int32_t rewind_cuda_peak(int32_t device, uint64_t* bytes, RewindError* error) noexcept {
  return answer(error, [&] {
    const auto stats = allocator()->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    const auto sum = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = static_cast<uint64_t>(stats.allocated_bytes[sum].peak);
  });
}

int32_t rewind_cuda_forget_peak(int32_t device, RewindError* error) noexcept {
  return answer(error, [&] { allocator()->resetPeakStats(static_cast<c10::DeviceIndex>(device)); });
}

} // extern "C"
