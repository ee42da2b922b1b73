// A C interface to libtorch's process groups: Gloo's constructor, and the operations of every backend.
//
// No exception leaves a function of this file: it is copied into a RewindError.

#include "shim.h"

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

// The stub headers are right for one libtorch.
static_assert(sizeof(c10d::ProcessGroupGloo) == 488);

namespace {

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

// As `fill`, knowing what Gloo throws.
void tell(RewindError* error, const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const gloo::IoException& caught) {
    fill(error, REWIND_ERROR_CONNECTION, caught.what());
  } catch (...) {
    fill(error, std::current_exception());
  }
}

} // namespace

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
    tell(error, std::current_exception());
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
    tell(error, std::current_exception());
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

RewindWork* rewind_reduce_scatter(
    RewindGroup* group,
    const at::Tensor* output,
    const at::Tensor* input,
    RewindError* error) noexcept {
  return start_work({*output, *input}, error, [&](auto& tensors) {
    return group->backend->_reduce_scatter_base(tensors[0], tensors[1]);
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
    // NCCL's work does not answer isSuccess.
    if (const auto exception = work->work->exception()) {
      tell(error, exception);
      return -1;
    }
    work->work->synchronize();
    return 1;
  } catch (...) {
    tell(error, std::current_exception());
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
    tell(error, std::current_exception());
    return 1;
  }
}

// Leaves a group in which nothing is in flight, in order: NCCL's peers may still be reading what was sent.
void rewind_group_shut_down(RewindGroup* group) noexcept {
  try {
    group->backend->shutdown();
  } catch (...) {
    // What is not shut down is aborted when it is dropped.
  }
}

// Waits for what is in flight.
void rewind_group_drop(RewindGroup* group) noexcept {
  delete group;
}

} // extern "C"
