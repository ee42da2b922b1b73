// The same memory seen from both sides.

#include "views.h"

#include <c10/core/TensorImpl.h>

#include <algorithm>

namespace pretend_cuda {
namespace {

// Conjugate and negative views stay what they are.
c10::DispatchKeySet marks(const at::Tensor& tensor, c10::DispatchKeySet keys) {
  for (auto key : {c10::DispatchKey::Conjugate, c10::DispatchKey::Negative}) {
    if (tensor.key_set().has(key)) {
      keys = keys.add(key);
    }
  }
  return keys;
}

} // namespace

at::Tensor Views::on_host(const at::Tensor& tensor) {
  if (!tensor.defined()) {
    return tensor;
  }
  if (!tensor.is_cuda()) {
    of_the_host_.push_back(tensor);
    return tensor;
  }
  TORCH_CHECK(tensor.layout() == c10::kStrided && !tensor.is_quantized(), "pretend_cuda knows dense tensors alone");
  for (const Pair<at::Tensor>& pair : tensors_) {
    if (pair.device.is_same(tensor)) {
      return pair.host;
    }
  }
  c10::DispatchKeySet keys(c10::DispatchKey::CPU);
  auto host = at::detail::make_tensor<c10::TensorImpl>(on_host(tensor.storage()), marks(tensor, keys), tensor.dtype());
  host.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    host.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  tensors_.push_back({tensor, host});
  return host;
}

c10::Storage Views::on_host(const c10::Storage& storage) {
  for (const Pair<c10::Storage>& pair : storages_) {
    if (pair.device.unsafeGetStorageImpl() == storage.unsafeGetStorageImpl()) {
      return pair.host;
    }
  }
  void* memory = host_address(storage.unsafeGetStorageImpl()->mutable_data());
  c10::Storage host(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), storage.nbytes(),
      c10::DataPtr(memory, c10::Device(c10::kCPU)), c10::GetAllocator(c10::kCPU), /*resizable=*/true));
  storages_.push_back({storage, host});
  return host;
}

at::Tensor Views::on_device(const at::Tensor& host) {
  const auto is_host = [&host](const at::Tensor& tensor) { return tensor.is_same(host); };
  if (!host.defined() || std::any_of(of_the_host_.begin(), of_the_host_.end(), is_host)) {
    return host;
  }
  for (const Pair<at::Tensor>& pair : tensors_) {
    if (pair.host.is_same(host)) {
      return pair.device;
    }
  }
  c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  auto device = at::detail::make_tensor<c10::TensorImpl>(on_device(host.storage()), marks(host, keys), host.dtype());
  device.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
  return device;
}

c10::Storage Views::on_device(const c10::Storage& host) {
  for (const Pair<c10::Storage>& pair : storages_) {
    if (pair.host.unsafeGetStorageImpl() == host.unsafeGetStorageImpl()) {
      return pair.device;
    }
  }
  c10::Storage device(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), host.nbytes(),
      adopt(host, device_), device_memory(), /*resizable=*/true));
  storages_.push_back({device, host});
  return device;
}

void Views::bring_back_changes() {
  for (const Pair<c10::Storage>& pair : storages_) {
    c10::StorageImpl* device = pair.device.unsafeGetStorageImpl();
    c10::StorageImpl* host = pair.host.unsafeGetStorageImpl();
    if (host->data() != host_address(device->data())) {
      const size_t bytes = host->nbytes();
      void* memory = host->mutable_data();
      auto owned = host->set_data_ptr(c10::DataPtr(memory, c10::Device(c10::kCPU)));
      device->set_data_ptr_noswap(adopt(std::move(owned), bytes, device_));
      device->set_nbytes(bytes);
    }
  }
  for (const Pair<at::Tensor>& pair : tensors_) {
    c10::TensorImpl* device = pair.device.unsafeGetTensorImpl();
    const at::Tensor& host = pair.host;
    const c10::Storage storage = on_device(host.storage());
    if (storage.unsafeGetStorageImpl() != device->unsafe_storage().unsafeGetStorageImpl()) {
      device->set_storage_keep_dtype(storage);
    }
    if (device->sizes() != host.sizes() || device->strides() != host.strides() ||
        device->storage_offset() != host.storage_offset()) {
      device->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
    }
  }
}

} // namespace pretend_cuda
