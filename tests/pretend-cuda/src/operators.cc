// The operations of the pretend devices: every operation that libtorch has a CUDA kernel for is checked as that kernel
// checks it, and then computed by the CPU's kernel on the same memory.

#include "views.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/op_registration/adaption.h>
#include <ATen/native/transformers/attention.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <string>
#include <tuple>
#include <unordered_set>
#include <vector>

namespace pretend_cuda {
namespace {

// From libtorch's own table of operations, written by build.rs.
const std::unordered_set<std::string>& operations_with_a_cuda_kernel() {
  static const std::unordered_set<std::string> names = {
#include "operations_with_a_cuda_kernel.inc"
  };
  return names;
}

// Those whose kernels let a number on the CPU meet tensors on the device: the pointwise ones, mostly.
const std::unordered_set<std::string>& operations_that_take_numbers_from_the_cpu() {
  static const std::unordered_set<std::string> names = {
#include "operations_that_take_numbers_from_the_cpu.inc"
  };
  return names;
}

// Without a CUDA kernel in the table, for libtorch chooses a library for them by the device: these choose the CPU's.
constexpr const char* kChosenByDevice[] = {"convolution", "_convolution", "convolution_backward"};

// Computed in one piece: their CUDA kernels do not give their results to the kernel that fills a given one.
bool is_one_piece(const std::string& name) {
  return name == "mse_loss" || name == "smooth_l1_loss";
}

// Between devices, by their nature.
bool moves_between_devices(const std::string& name) {
  return name == "copy_";
}

// Indices may lie on the CPU, or beside what they index.
bool takes_indices_from_the_cpu(const std::string& name) {
  return name == "index.Tensor" || name == "index.Tensor_out" || name == "_index_put_impl_";
}

std::string unqualified(const c10::OperatorName& name) {
  const std::string base = name.name.substr(name.name.find("::") + 2);
  return name.overload_name.empty() ? base : base + "." + name.overload_name;
}

// ------------------------------------------------------------------------------------------------------ device hygiene

struct DeviceCheck {
  const std::string& name;
  std::optional<c10::Device> device; // The first tensor's that counts.
  std::string method;
  bool numbers_may_come_from_the_cpu;

  explicit DeviceCheck(const std::string& operation)
      : name(operation),
        method("wrapper_CUDA_" + operation.substr(0, operation.find('.'))),
        numbers_may_come_from_the_cpu(operations_that_take_numbers_from_the_cpu().count(operation) > 0) {}

  // A tensor that is written counts, whatever its size.
  void see(const at::Tensor& tensor, const std::string& argument, bool is_written) {
    if (!tensor.defined()) {
      return;
    }
    if (!numbers_may_come_from_the_cpu) {
      c10::impl::check_and_update_common_device(device, tensor, method.c_str(), argument.c_str());
      return;
    }
    if (tensor.dim() == 0 && tensor.is_cpu() && !is_written) {
      return;
    }
    if (!device) {
      device = tensor.device();
    }
    TORCH_CHECK(*device == tensor.device(), "Expected all tensors to be on the same device, but found at least two devices, ",
        *device, " and ", tensor.device(), "!");
  }
};

void check_devices(const std::string& name, const c10::FunctionSchema& schema, c10::ArrayRef<c10::IValue> arguments) {
  if (moves_between_devices(name)) {
    return;
  }
  DeviceCheck check(name);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const c10::IValue& value = arguments[i];
    const std::string& argument = schema.arguments()[i].name();
    const auto* alias = schema.arguments()[i].alias_info();
    const bool is_written = alias != nullptr && alias->isWrite();
    if (value.isTensor()) {
      check.see(value.toTensor(), argument, is_written);
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        check.see(tensor, argument, is_written);
      }
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
        if (tensor && takes_indices_from_the_cpu(name)) {
          const auto indexed = arguments[0].toTensor().device();
          TORCH_CHECK_INDEX(tensor->is_cpu() || tensor->device() == indexed,
              "indices should be either on cpu or on the same device as the indexed tensor (", indexed, ")");
        } else {
          check.see(tensor.value_or(at::Tensor()), argument, is_written);
        }
      }
    }
  }
}

// ----------------------------------------------------------------------------------------------------- one call of all

std::optional<c10::Device> device_of(c10::ArrayRef<c10::IValue> arguments) {
  for (const c10::IValue& value : arguments) {
    if (value.isDevice()) {
      return value.toDevice();
    }
  }
  for (const c10::IValue& value : arguments) {
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_cuda()) {
      return value.toTensor().device();
    }
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        if (tensor.defined() && tensor.is_cuda()) {
          return tensor.device();
        }
      }
    }
  }
  return std::nullopt;
}

bool is_generator(const c10::TypePtr& type) {
  const auto* optional = type->castRaw<c10::OptionalType>();
  return (optional == nullptr ? type : optional->getElementType())->kind() == c10::TypeKind::GeneratorType;
}

c10::IValue argument_on_host(const c10::IValue& value, const c10::TypePtr& type, Views& views, c10::DeviceIndex device) {
  if (value.isTensor()) {
    return views.on_host(value.toTensor());
  }
  if (value.isStorage()) {
    const auto storage = value.toStorage();
    return storage.device_type() == c10::kCUDA ? views.on_host(storage) : storage;
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(views.on_host(tensor));
    }
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      list.push_back(tensor ? std::optional<at::Tensor>(views.on_host(*tensor)) : std::nullopt);
    }
    return list;
  }
  if (value.isDevice()) {
    return c10::Device(c10::kCPU);
  }
  if (is_generator(type)) {
    return value.isNone() ? default_generator_behind(device) : generator_behind(value.toGenerator());
  }
  return value;
}

c10::IValue result_on_device(const c10::IValue& value, Views& views) {
  if (value.isTensor()) {
    return views.on_device(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(views.on_device(tensor));
    }
    return list;
  }
  return value;
}

void compute_on_host(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  const auto& schema = operation.schema();
  const std::string name = unqualified(operation.operator_name());
  const size_t count = schema.arguments().size();
  const std::vector<c10::IValue> arguments(stack->end() - static_cast<std::ptrdiff_t>(count), stack->end());

  check_devices(name, schema, arguments);
  const auto wanted = device_of(arguments);
  const bool leaves_the_device = wanted && !wanted->is_cuda();
  const auto device = leaves_the_device ? named_device(std::nullopt) : named_device(wanted);
  const c10::DeviceGuard guard(device);

  Views views(device.index());
  torch::jit::drop(*stack, count);
  for (size_t i = 0; i < count; ++i) {
    stack->push_back(argument_on_host(arguments[i], schema.arguments()[i].type(), views, device.index()));
  }
  operation.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  views.bring_back_changes();
  if (leaves_the_device) {
    return;
  }
  const size_t results = schema.returns().size();
  for (size_t i = stack->size() - results; i < stack->size(); ++i) {
    (*stack)[i] = result_on_device((*stack)[i], views);
  }
}

// ------------------------------------------------------------------------------------- operations without a CPU's twin

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool> pinned, std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::DeviceGuard guard(named_device(device));
  return at::detail::empty_generic(size, device_memory(), c10::DispatchKeySet(c10::DispatchKey::CUDA),
      c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef strides, std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool> pinned) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::DeviceGuard guard(named_device(device));
  return at::detail::empty_strided_generic(size, strides, device_memory(), c10::DispatchKeySet(c10::DispatchKey::CUDA),
      c10::dtype_or_default(dtype));
}

// The CPU's kernel would draw from the CPU's generator.
std::tuple<at::Tensor, at::Tensor> native_dropout(const at::Tensor& input, double share, std::optional<bool> train) {
  if (!train.value_or(true)) {
    return {input.clone(), at::ones_like(input, input.options().dtype(at::kBool))};
  }
  const double kept = 1.0 - share;
  auto mask = at::empty_like(input, input.options().dtype(at::kBool)).bernoulli_(kept);
  return {input.mul(mask).mul_(kept == 0.0 ? 0.0 : 1.0 / kept), mask};
}

void record_stream(at::Tensor&, c10::Stream) {}

// Attention is computed as it is written, for the fused kernels are the GPU's own.
int64_t attention_as_written(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
    double, bool, std::optional<double>, bool) {
  return 0; // sdp::SDPBackend::math
}

[[maybe_unused]] const bool attention_registered = [] {
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&attention_as_written);
  return true;
}();

} // namespace

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  std::unordered_set<std::string> written = {"empty.memory_format", "empty_strided", "native_dropout", "record_stream"};
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("native_dropout", TORCH_FN(native_dropout));
  library.impl("record_stream", TORCH_FN(record_stream));

  const auto by_the_cpu = [&library, &written](const std::string& name) {
    if (written.insert(name).second) {
      library.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&compute_on_host>());
    }
  };
  by_the_cpu("copy_");
  for (const char* name : kChosenByDevice) {
    by_the_cpu(name);
  }
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const std::string& name : operations_with_a_cuda_kernel()) {
    const auto dot = name.find('.');
    const auto operation = dot == std::string::npos
        ? dispatcher.findSchema({"aten::" + name, ""})
        : dispatcher.findSchema({"aten::" + name.substr(0, dot), name.substr(dot + 1)});
    if (!operation || !operation->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
      continue;
    }
    // Those that compare their tensors themselves are left to do so, in libtorch, on the way to their kernel.
    const bool compares_itself = !is_one_piece(name) && operations_that_take_numbers_from_the_cpu().count(name) > 0 &&
        operation->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional);
    if (!compares_itself) {
      by_the_cpu(name);
    }
  }
}

} // namespace pretend_cuda
