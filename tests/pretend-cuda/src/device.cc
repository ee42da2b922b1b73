// The pretend devices themselves: which there are, the current one, their streams, generators and pinned memory.

#include "pretend_cuda.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace pretend_cuda {
namespace {

thread_local c10::DeviceIndex current = 0;

c10::Device cuda(c10::DeviceIndex index) {
  return {c10::kCUDA, index};
}

// Every device has one stream, on which everything is done as soon as it is asked for.
c10::Stream only_stream(c10::Device device) {
  return c10::Stream(c10::Stream::DEFAULT, named_device(device));
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override {
    return c10::kCUDA;
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    const auto before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override {
    return cuda(current);
  }
  void setDevice(c10::Device device) const override {
    current = named_device(device).index();
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.has_index()) {
      current = device.index();
    }
  }
  c10::Stream getStream(c10::Device device) const override {
    return only_stream(device);
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return only_stream(device);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return only_stream(device);
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return only_stream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return only_stream(stream.device());
  }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override {
    return true;
  }
  void synchronizeEvent(void*) const override {}
  bool queryStream(const c10::Stream&) const override {
    return true;
  }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
  double elapsedTime(void*, void*, const c10::DeviceIndex) const override {
    return 0.0;
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return device_count();
  }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// A generator of a device draws from a CPU generator of its own, so that seeds and states do not mix with the CPU's.
struct DeviceGenerator final : c10::GeneratorImpl {
  DeviceGenerator(c10::DeviceIndex device, at::Generator behind)
      : GeneratorImpl(cuda(device), c10::DispatchKeySet(c10::DispatchKey::CUDA)), behind_(std::move(behind)) {}
  void set_current_seed(uint64_t seed) override {
    behind_.set_current_seed(seed);
  }
  void set_offset(uint64_t offset) override {
    behind_.set_offset(offset);
  }
  uint64_t get_offset() const override {
    return behind_.get_offset();
  }
  uint64_t current_seed() const override {
    return behind_.current_seed();
  }
  uint64_t seed() override {
    return behind_.seed();
  }
  void set_state(const c10::TensorImpl& state) override {
    behind_.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return behind_.unsafeGetGeneratorImpl()->get_state();
  }
  c10::GeneratorImpl* clone_impl() const override {
    return new DeviceGenerator(device().index(), behind_.clone());
  }

  at::Generator behind_;
};

const at::Generator& default_generator(c10::DeviceIndex device) {
  static auto* generators = [] {
    auto* made = new std::vector<at::Generator>;
    for (c10::DeviceIndex index = 0; index < device_count(); ++index) {
      made->push_back(at::make_generator<DeviceGenerator>(index, at::detail::createCPUGenerator()));
    }
    return made;
  }();
  return generators->at(static_cast<size_t>(device));
}

// Page-locked memory, as far as anyone can see: host memory that knows that it is pinned.
struct PinnedMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) {
      return {nullptr, c10::Device(c10::kCPU)};
    }
    auto* block = new c10::DataPtr(c10::GetAllocator(c10::kCPU)->allocate(bytes));
    std::lock_guard<std::mutex> lock(mutex_);
    ends_[static_cast<char*>(block->get())] = static_cast<char*>(block->get()) + bytes;
    return {block->get(), block, &free_block, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }
  bool holds(const void* address) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto* byte = static_cast<const char*>(address);
    auto after = ends_.upper_bound(byte);
    return after != ends_.begin() && byte < std::prev(after)->second;
  }
  static PinnedMemory& instance() {
    static auto* memory = new PinnedMemory; // Outlives every tensor.
    return *memory;
  }

 private:
  static void free_block(void* context) {
    auto* block = static_cast<c10::DataPtr*>(context);
    {
      std::lock_guard<std::mutex> lock(instance().mutex_);
      instance().ends_.erase(static_cast<char*>(block->get()));
    }
    delete block;
  }

  std::mutex mutex_;
  std::map<const char*, const char*> ends_;
};

} // namespace

// libtorch creates the hooks by the name of this class. They say that there is no cuDNN, MAGMA or cuSOLVER, so that
// libtorch chooses its own kernels.
struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return device_count() > 0;
  }
  void init() const override {}
  bool hasCUDA() const override {
    return device_count() > 0;
  }
  bool hasPrimaryContext(c10::DeviceIndex) const override {
    return true;
  }
  c10::DeviceIndex deviceCount() const override {
    return device_count();
  }
  int getNumGPUs() const override {
    return device_count();
  }
  c10::DeviceIndex current_device() const override {
    return current;
  }
  void setCurrentDevice(c10::DeviceIndex device) const override {
    current = named_device(cuda(device)).index();
  }
  c10::DeviceIndex getCurrentDevice() const override {
    return current;
  }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    const auto before = current;
    setCurrentDevice(device);
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return device < 0 ? current : exchangeDevice(device);
  }
  bool isPinnedPtr(const void* data) const override {
    return PinnedMemory::instance().holds(data);
  }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return &PinnedMemory::instance();
  }
  c10::Allocator* getCUDADeviceAllocator() const override {
    return device_memory();
  }
  c10::Device getDeviceFromPtr(void* data) const override {
    const auto device = device_of_address(data);
    TORCH_CHECK(device, "The specified pointer resides on host memory and is not registered with any CUDA device.");
    return cuda(*device);
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override {
    return default_generator(named_device(cuda(device)).index());
  }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override {
    return at::make_generator<DeviceGenerator>(named_device(cuda(device)).index(), at::detail::createCPUGenerator());
  }
  std::string showConfig() const override {
    return "  - pretend_cuda: no GPU, the CPU's kernels\n";
  }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};

} // namespace pretend_cuda

namespace at {
using pretend_cuda::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
} // namespace at

namespace pretend_cuda {

c10::DeviceIndex device_count() {
  static const c10::DeviceIndex count = [] {
    const char* devices = std::getenv("PRETEND_CUDA_DEVICES");
    const long value = devices == nullptr ? 1 : std::strtol(devices, nullptr, 10);
    TORCH_CHECK(value >= 0 && value <= 16, "PRETEND_CUDA_DEVICES must be 0 to 16, not `", devices, "`");
    return static_cast<c10::DeviceIndex>(value);
  }();
  return count;
}

c10::DeviceIndex current_device() {
  return current;
}

c10::Device named_device(std::optional<c10::Device> device) {
  TORCH_CHECK(!device || device->is_cuda(), "expected a device of type cuda, not ", *device);
  const auto index = device && device->has_index() ? device->index() : current;
  TORCH_CHECK(index < device_count(), "CUDA error: invalid device ordinal");
  return cuda(index);
}

at::Generator generator_behind(const at::Generator& generator) {
  auto* device_generator = dynamic_cast<DeviceGenerator*>(generator.unsafeGetGeneratorImpl());
  TORCH_CHECK(device_generator != nullptr, "Expected a 'cuda' device type for generator but found '",
      generator.device().type(), "'");
  return device_generator->behind_;
}

at::Generator default_generator_behind(c10::DeviceIndex device) {
  return generator_behind(default_generator(device));
}

} // namespace pretend_cuda
