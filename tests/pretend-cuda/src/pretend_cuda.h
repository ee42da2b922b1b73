// A pretend CUDA device for libtorch: a double, in ordinary memory, computed by the CPU's kernels.
// What it proves and what it does not is said in lib.rs.
#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Device.h>
#include <c10/core/Storage.h>

namespace pretend_cuda {

// How many devices there are: PRETEND_CUDA_DEVICES, or one.
c10::DeviceIndex device_count();

// The calling thread's current device.
c10::DeviceIndex current_device();

// The device that a caller means: an index, or the current one; refuses an index that no device has.
c10::Device named_device(std::optional<c10::Device> device);

// Device addresses are host addresses with a mark in the bits that no pointer of a process may have set. Reading one on the
// host ends the process, as reading the memory of a GPU does.
void* device_address(void* host, c10::DeviceIndex device);
void* host_address(const void* device_address);
std::optional<c10::DeviceIndex> device_of_address(const void* address);

// The devices' memory: counts what is in use, and refuses what is beyond PRETEND_CUDA_MEMORY bytes a device.
c10::DeviceAllocator* device_memory();

// Memory that a CPU kernel has allocated, as memory of the device, counted like any other.
c10::DataPtr adopt(c10::Storage host, c10::DeviceIndex device);
c10::DataPtr adopt(c10::DataPtr host, size_t bytes, c10::DeviceIndex device);

// The CPU's generator behind a device's generator; refuses a generator of the CPU.
at::Generator generator_behind(const at::Generator& generator);
at::Generator default_generator_behind(c10::DeviceIndex device);

} // namespace pretend_cuda
