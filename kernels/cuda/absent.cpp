// What does a build without the CUDA toolkit say? That it has no GPU, in one line. Everything is
// defined from outside of its namespace: what is declared in no header does not compile.
#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"

int fathom::cuda_device_count() { return 0; }
std::string fathom::cuda_absence() {
  return "this build has no CUDA kernels (cmake --preset cuda has them)";
}

static fathom::Error absence() {
  return {fathom::Code::failed_precondition, fathom::cuda_absence(), "device"};
}
fathom::Result<std::unique_ptr<fathom::Device>> fathom::make_cuda_device(const CudaDeviceConfig&) {
  return absence();
}
fathom::Result<std::vector<std::unique_ptr<fathom::Collectives>>> fathom::make_peer_collectives(
    std::span<Device* const>, Duration) {
  return absence();
}
fathom::Result<fathom::NcclId> fathom::make_nccl_id() { return absence(); }
fathom::Result<std::unique_ptr<fathom::Collectives>> fathom::make_nccl_collectives(
    Device&, const NcclGroup&) {
  return absence();
}
const fathom::Ops* fathom::cuda_ops() { return nullptr; }
std::unique_ptr<fathom::BatchSampler> fathom::make_cuda_sampler(Device&) { return nullptr; }
