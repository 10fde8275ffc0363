// How does host code get a GPU? This header names no CUDA type, so everything above the kernels
// builds without the toolkit; a build without it has the same functions and no devices
// (cuda/absent.cpp).
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/batch_sampler.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace fathom {

// GPUs of compute capability 9.0 that this process can use; 0 without a driver.
int cuda_device_count();
// Why there is none, in one line, when the count is 0.
std::string cuda_absence();

struct CudaDeviceConfig {
  int index = 0;
  bool overlap_launches = true;  // kernels may begin their prologue while the one before ends
};
// One rank's place on a GPU: a stream of its own. Several on one GPU are fine.
Result<std::unique_ptr<Device>> make_cuda_device(const CudaDeviceConfig& config);

// Null without CUDA in this build.
const Ops* cuda_ops();
std::unique_ptr<BatchSampler> make_cuda_sampler(Device& device);

}  // namespace fathom
