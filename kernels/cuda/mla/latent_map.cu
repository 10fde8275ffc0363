// With which settings are latents mapped? 576 bf16 a token, boxes of 64 values (128-byte swizzle),
// zeros outside, whole L2 sectors of 256 bytes.
#include "kernels/cuda/mla/latent_map.h"

#include "kernels/cuda/mla/split.h"

namespace fathom::cuda::mla {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// Looked up through the runtime, so nothing links libcuda.
Encode encoder() {
  static const Encode found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                               12000, cudaEnableDefault, &result);
    const bool there = error == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return there ? reinterpret_cast<Encode>(function) : nullptr;
  }();
  return found;
}

}  // namespace

cudaError_t make_latent_map(const LatentView& view, CUtensorMap* map) {
  const Encode encode = encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t shape[3] = {kWidth, static_cast<cuuint64_t>(view.tokens),
                               static_cast<cuuint64_t>(view.blocks)};
  const cuuint64_t strides[2] = {kWidth * 2, static_cast<cuuint64_t>(view.block_stride) * 2};
  const cuuint32_t box[3] = {64, static_cast<cuuint32_t>(view.box_tokens), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(view.data), shape, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace fathom::cuda::mla
