// A C interface to libtorch's process groups: one constructor a backend, one set of operations for all.
//
// No exception leaves a function of this file: it is copied into a RewindError.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/version.h>

// The stub headers are right for one libtorch.
static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 13);
static_assert(sizeof(c10d::ProcessGroupGloo) == 488);

extern "C" {

enum RewindErrorKind : int32_t { REWIND_ERROR_OTHER = 0, REWIND_ERROR_CONNECTION = 1 };

struct RewindError {
  int32_t kind;
  char message[2044];
};

// The functions return 0, or 1 after filling the error.
struct RewindStore {
  void* context;
  int32_t (*set)(void*, const char*, size_t, const uint8_t*, size_t, RewindError*);
  int32_t (*get)(void*, const char*, size_t, int64_t timeout_ms, void* value, RewindError*);
  int32_t (*wait)(void*, const char*, size_t, int64_t timeout_ms, RewindError*);
  int32_t (*add)(void*, const char*, size_t, int64_t amount, int64_t* sum, RewindError*);
  int32_t (*check)(void*, const char*, size_t, int32_t* present, RewindError*);
  int32_t (*remove)(void*, const char*, size_t, int32_t* removed, RewindError*);
  int32_t (*compare_set)(
      void*, const char*, size_t, const uint8_t*, size_t, const uint8_t*, size_t, void* value, RewindError*);
  void (*release)(void*);
};

} // extern "C"

namespace {

using Bytes = std::vector<uint8_t>;

// The caller's store, seen from c10d.
class CallbackStore final : public c10d::Store {
 public:
  CallbackStore(const RewindStore& store, std::chrono::milliseconds timeout)
      : c10d::Store(timeout), store_(store) {}
  ~CallbackStore() override {
    store_.release(store_.context);
  }

  c10::intrusive_ptr<c10d::Store> clone() override {
    return c10::intrusive_ptr<c10d::Store>::reclaim_copy(this);
  }

  using c10d::Store::set;
  void set(const std::string& key, const Bytes& value) override {
    RewindError error{};
    check_error(
        store_.set(store_.context, key.data(), key.size(), value.data(), value.size(), &error), error);
  }

  Bytes get(const std::string& key) override {
    RewindError error{};
    Bytes value;
    check_error(
        store_.get(store_.context, key.data(), key.size(), timeout_.count(), &value, &error), error);
    return value;
  }

  int64_t add(const std::string& key, int64_t amount) override {
    RewindError error{};
    int64_t sum = 0;
    check_error(store_.add(store_.context, key.data(), key.size(), amount, &sum, &error), error);
    return sum;
  }

  bool deleteKey(const std::string& key) override {
    RewindError error{};
    int32_t removed = 0;
    check_error(store_.remove(store_.context, key.data(), key.size(), &removed, &error), error);
    return removed != 0;
  }

  bool check(const std::vector<std::string>& keys) override {
    for (const auto& key : keys) {
      RewindError error{};
      int32_t present = 0;
      check_error(store_.check(store_.context, key.data(), key.size(), &present, &error), error);
      if (present == 0) {
        return false;
      }
    }
    return true;
  }

  using c10d::Store::compareSet;
  Bytes compareSet(const std::string& key, const Bytes& expected, const Bytes& desired) override {
    RewindError error{};
    Bytes value;
    check_error(
        store_.compare_set(
            store_.context, key.data(), key.size(), expected.data(), expected.size(), desired.data(),
            desired.size(), &value, &error),
        error);
    return value;
  }

  int64_t getNumKeys() override {
    C10_THROW_ERROR(NotImplementedError, "the rendezvous store does not count its keys");
  }

  void wait(const std::vector<std::string>& keys) override {
    wait(keys, timeout_);
  }

  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override {
    for (const auto& key : keys) {
      RewindError error{};
      check_error(
          store_.wait(store_.context, key.data(), key.size(), timeout.count(), &error), error);
    }
  }

 private:
  static void check_error(int32_t status, const RewindError& error) {
    if (status != 0) {
      C10_THROW_ERROR(DistStoreError, std::string(error.message));
    }
  }

  RewindStore store_;
};

// Gloo with an abort: libtorch's own does nothing, and dropping a group with an operation in flight waits for its
// timeout. Here every connection is failed, as Gloo itself does after a timeout.
class AbortableGloo final : public c10d::ProcessGroupGloo {
 public:
  using c10d::ProcessGroupGloo::ProcessGroupGloo;

  void abort() override {
    for (const auto& context : contexts_) {
      for (int peer = 0; peer < getSize(); peer++) {
        if (peer == getRank()) {
          continue;
        }
        auto* pair = dynamic_cast<gloo::transport::tcp::Pair*>(context->getPair(peer).get());
        if (pair != nullptr) {
          pair->signalExceptionExternal("the group was aborted on this rank");
        }
      }
    }
  }
};

void fill(RewindError* error, RewindErrorKind kind, const char* message) noexcept {
  error->kind = kind;
  const size_t length = std::min(std::strlen(message), sizeof(error->message) - 1);
  std::memcpy(error->message, message, length);
  error->message[length] = '\0';
}

void fill(RewindError* error, const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const gloo::IoException& caught) {
    fill(error, REWIND_ERROR_CONNECTION, caught.what());
  } catch (const c10::Error& caught) {
    fill(error, REWIND_ERROR_OTHER, caught.what_without_backtrace());
  } catch (const std::exception& caught) {
    fill(error, REWIND_ERROR_OTHER, caught.what());
  } catch (...) {
    fill(error, REWIND_ERROR_OTHER, "an exception of unknown type");
  }
}

} // namespace

struct RewindGroup {
  c10::intrusive_ptr<c10d::Backend> backend;
};

// Keeps its tensors as long as it lives.
struct RewindWork {
  std::vector<at::Tensor> tensors;
  c10::intrusive_ptr<c10d::Work> work;
};

namespace {

template <typename Start>
RewindWork* start_work(std::vector<at::Tensor> tensors, RewindError* error, Start start) noexcept {
  try {
    auto started = std::make_unique<RewindWork>();
    started->tensors = std::move(tensors);
    started->work = start(started->tensors);
    return started.release();
  } catch (...) {
    fill(error, std::current_exception());
    return nullptr;
  }
}

} // namespace

extern "C" {

void rewind_bytes_assign(void* bytes, const uint8_t* data, size_t length) noexcept {
  static_cast<Bytes*>(bytes)->assign(data, data + length);
}

// Takes the store over, whatever the outcome.
RewindGroup* rewind_gloo_connect(
    const RewindStore* store,
    int32_t rank,
    int32_t world_size,
    const char* bind_address,
    int64_t timeout_ms,
    RewindError* error) noexcept {
  try {
    const auto timeout = std::chrono::milliseconds(timeout_ms);
    auto rendezvous = c10::make_intrusive<CallbackStore>(*store, timeout);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->threads = 1;
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(bind_address));
    auto group = std::make_unique<RewindGroup>();
    group->backend = c10::make_intrusive<AbortableGloo>(rendezvous, rank, world_size, options);
    return group.release();
  } catch (...) {
    fill(error, std::current_exception());
    return nullptr;
  }
}

RewindWork* rewind_all_reduce(RewindGroup* group, const at::Tensor* tensor, RewindError* error) noexcept {
  return start_work({*tensor}, error, [&](auto& tensors) { return group->backend->allreduce(tensors); });
}

RewindWork* rewind_all_gather(
    RewindGroup* group,
    const at::Tensor* output,
    const at::Tensor* input,
    RewindError* error) noexcept {
  return start_work({*output, *input}, error, [&](auto& tensors) {
    return group->backend->_allgather_base(tensors[0], tensors[1]);
  });
}

RewindWork* rewind_broadcast(
    RewindGroup* group,
    const at::Tensor* tensor,
    int32_t root,
    RewindError* error) noexcept {
  return start_work({*tensor}, error, [&](auto& tensors) {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.rootTensor = 0;
    return group->backend->broadcast(tensors, options);
  });
}

RewindWork* rewind_barrier(RewindGroup* group, RewindError* error) noexcept {
  return start_work({}, error, [&](auto&) { return group->backend->barrier(); });
}

// 0: still running, 1: ended well, -1: failed.
int32_t rewind_work_poll(RewindWork* work, RewindError* error) noexcept {
  try {
    if (!work->work->isCompleted()) {
      return 0;
    }
    if (work->work->isSuccess()) {
      work->work->synchronize();
      return 1;
    }
    fill(error, work->work->exception());
    return -1;
  } catch (...) {
    fill(error, std::current_exception());
    return -1;
  }
}

void rewind_work_drop(RewindWork* work) noexcept {
  delete work;
}

int32_t rewind_group_abort(RewindGroup* group, RewindError* error) noexcept {
  try {
    group->backend->abort();
    return 0;
  } catch (...) {
    fill(error, std::current_exception());
    return 1;
  }
}

// Waits for what is in flight.
void rewind_group_drop(RewindGroup* group) noexcept {
  delete group;
}

} // extern "C"
