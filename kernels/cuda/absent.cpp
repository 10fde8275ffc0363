// What does a build without the CUDA toolkit say? That it has no GPU, in one line.
#include "kernels/cuda/device.h"

namespace fathom {

int cuda_device_count() { return 0; }
std::string cuda_absence() { return "this build has no CUDA kernels (cmake --preset cuda has them)"; }
Result<std::unique_ptr<Device>> make_cuda_device(const CudaDeviceConfig&) {
  return Error{Code::failed_precondition, cuda_absence(), "device"};
}
const Ops* cuda_ops() { return nullptr; }
std::unique_ptr<BatchSampler> make_cuda_sampler(Device&) { return nullptr; }

}  // namespace fathom
