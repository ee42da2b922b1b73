// Memory of the pretend devices: the host's, with marked addresses, counted, and limited.

#include "pretend_cuda.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <mutex>

namespace pretend_cuda {
namespace {

using c10::CachingAllocator::format_size;
using c10::CachingAllocator::Stat;
using c10::CachingAllocator::StatType;

constexpr int kIndexShift = 56;
constexpr uintptr_t kMark = uintptr_t{1} << 62;
constexpr uintptr_t kHostBits = (uintptr_t{1} << kIndexShift) - 1;
constexpr size_t kMostDevices = 16;

size_t capacity() {
  static const size_t bytes = [] {
    if (const char* limit = std::getenv("PRETEND_CUDA_MEMORY")) {
      char* end = nullptr;
      const auto value = std::strtoull(limit, &end, 10);
      TORCH_CHECK(end != limit && *end == '\0', "PRETEND_CUDA_MEMORY must be a number of bytes, not `", limit, "`");
      return static_cast<size_t>(value);
    }
    return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
  }();
  return bytes;
}

struct Usage {
  std::mutex mutex;
  c10::CachingDeviceAllocator::DeviceStats stats;
};

Usage& usage(c10::DeviceIndex device) {
  static auto* usages = new std::array<Usage, kMostDevices>; // Outlives every tensor.
  return usages->at(static_cast<size_t>(device));
}

constexpr auto kAggregate = static_cast<size_t>(StatType::AGGREGATE);

void reserve(c10::DeviceIndex device, size_t bytes) {
  Usage& of = usage(device);
  std::lock_guard<std::mutex> lock(of.mutex);
  Stat& allocated = of.stats.allocated_bytes[kAggregate];
  const auto used = static_cast<size_t>(allocated.current);
  if (bytes > capacity() || used > capacity() - bytes) {
    of.stats.num_ooms += 1;
    TORCH_CHECK_WITH(OutOfMemoryError, false,
        "CUDA out of memory. Tried to allocate ", format_size(bytes), ". GPU ", static_cast<int>(device),
        " has a total capacity of ", format_size(capacity()), " of which ",
        format_size(used < capacity() ? capacity() - used : 0), " is free. (pretend_cuda: PRETEND_CUDA_MEMORY)");
  }
  allocated.increase(bytes);
  of.stats.reserved_bytes[kAggregate].increase(bytes);
  of.stats.allocation[kAggregate].increase(1);
}

void release(c10::DeviceIndex device, size_t bytes) {
  Usage& of = usage(device);
  std::lock_guard<std::mutex> lock(of.mutex);
  of.stats.allocated_bytes[kAggregate].decrease(bytes);
  of.stats.reserved_bytes[kAggregate].decrease(bytes);
  of.stats.allocation[kAggregate].decrease(1);
}

// What a device's DataPtr owns. One of `storage` and `memory` is filled.
struct Holding {
  c10::Storage storage;
  c10::DataPtr memory;
  size_t bytes;
  c10::DeviceIndex device;

  ~Holding() {
    release(device, bytes);
  }
};

c10::DataPtr hold(Holding* holding, void* host) {
  return {device_address(host, holding->device), holding, [](void* held) { delete static_cast<Holding*>(held); },
      c10::Device(c10::kCUDA, holding->device)};
}

struct DeviceMemory final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    const auto device = current_device();
    if (bytes == 0) {
      return {nullptr, c10::Device(c10::kCUDA, device)};
    }
    reserve(device, bytes);
    // Counted already: from here on the holding gives the bytes back.
    auto holding = std::unique_ptr<Holding>(new Holding{{}, {}, bytes, device});
    holding->memory = c10::GetAllocator(c10::kCPU)->allocate(bytes);
    void* host = holding->memory.get();
    return hold(holding.release(), host);
  }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(host_address(to), host_address(from), count);
  }
  bool initialized() override {
    return true;
  }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(usage(device).mutex);
    return usage(device).stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(usage(device).mutex);
    auto& stats = usage(device).stats;
    for (auto* stat : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.allocation}) {
      stat->at(kAggregate).reset_accumulated();
    }
    stats.num_ooms = 0;
  }
  void resetPeakStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(usage(device).mutex);
    auto& stats = usage(device).stats;
    for (auto* stat : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.allocation}) {
      stat->at(kAggregate).reset_peak();
    }
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(usage(device).mutex);
    const auto used = static_cast<size_t>(usage(device).stats.allocated_bytes[kAggregate].current);
    return {used < capacity() ? capacity() - used : 0, capacity()};
  }
};

[[maybe_unused]] const bool registered = [] {
  c10::SetAllocator(c10::kCUDA, device_memory());
  return true;
}();

} // namespace

void* device_address(void* host, c10::DeviceIndex device) {
  if (host == nullptr) {
    return nullptr;
  }
  const auto index = static_cast<uintptr_t>(device) << kIndexShift;
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(host) | kMark | index);
}

void* host_address(const void* device_address) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device_address) & kHostBits);
}

std::optional<c10::DeviceIndex> device_of_address(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  if ((bits & kMark) == 0) {
    return std::nullopt;
  }
  return static_cast<c10::DeviceIndex>((bits & ~kMark) >> kIndexShift);
}

c10::DeviceAllocator* device_memory() {
  static auto* memory = new DeviceMemory; // Outlives every tensor.
  return memory;
}

c10::DataPtr adopt(c10::Storage host, c10::DeviceIndex device) {
  const size_t bytes = host.nbytes();
  void* memory = host.mutable_data();
  reserve(device, bytes);
  return hold(new Holding{std::move(host), {}, bytes, device}, memory);
}

c10::DataPtr adopt(c10::DataPtr host, size_t bytes, c10::DeviceIndex device) {
  void* memory = host.get();
  reserve(device, bytes);
  return hold(new Holding{{}, std::move(host), bytes, device}, memory);
}

} // namespace pretend_cuda
