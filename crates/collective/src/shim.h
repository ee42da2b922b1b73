// What the shims over libtorch's process groups share: a C interface from which no exception escapes.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/version.h>

// The shims are right for one libtorch.
static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 13);

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

void fill(RewindError* error, RewindErrorKind kind, const char* message) noexcept {
  error->kind = kind;
  const size_t length = std::min(std::strlen(message), sizeof(error->message) - 1);
  std::memcpy(error->message, message, length);
  error->message[length] = '\0';
}

void fill(RewindError* error, const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const c10::DistBackendError& caught) {
    fill(error, REWIND_ERROR_CONNECTION, caught.what_without_backtrace());
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
