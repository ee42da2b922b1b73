// The same memory seen from both sides: as the device's tensors, and as the CPU's.
#pragma once

#include "pretend_cuda.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace pretend_cuda {

// The tensors of one call, each as a CPU tensor on the same memory; and the way back.
class Views {
 public:
  explicit Views(c10::DeviceIndex device) : device_(device) {}

  at::Tensor on_host(const at::Tensor& tensor);
  c10::Storage on_host(const c10::Storage& storage);

  // What a kernel returned: one of its arguments, a view of one, or a tensor of its own.
  at::Tensor on_device(const at::Tensor& host);
  c10::Storage on_device(const c10::Storage& host);

  // Arguments that the kernel gave another size, other strides or other memory.
  void bring_back_changes();

 private:
  template <class T>
  struct Pair {
    T device;
    T host;
  };

  c10::DeviceIndex device_;
  std::vector<at::Tensor> of_the_host_; // Arguments that lie on the CPU themselves.
  std::vector<Pair<at::Tensor>> tensors_;
  std::vector<Pair<c10::Storage>> storages_;
};

} // namespace pretend_cuda
