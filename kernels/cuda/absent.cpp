// What does a build without the CUDA toolkit say? That it has no GPU, in one line.
#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"

namespace fathom {

int cuda_device_count() { return 0; }
std::string cuda_absence() {
  return "this build has no CUDA kernels (cmake --preset cuda has them)";
}
static Error absence() { return {Code::failed_precondition, cuda_absence(), "device"}; }
Result<std::unique_ptr<Device>> make_cuda_device(const CudaDeviceConfig&) { return absence(); }
Result<std::vector<std::unique_ptr<Collectives>>> make_peer_collectives(std::span<Device* const>) {
  return absence();
}
Result<NcclId> make_nccl_id() { return absence(); }
Result<std::unique_ptr<Collectives>> make_nccl_collectives(Device&, const NcclGroup&) {
  return absence();
}
const Ops* cuda_ops() { return nullptr; }
std::unique_ptr<BatchSampler> make_cuda_sampler(Device&) { return nullptr; }

}  // namespace fathom
