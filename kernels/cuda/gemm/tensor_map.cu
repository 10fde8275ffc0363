// Which driver function makes a tensor map, and with which settings? cuTensorMapEncodeTiled, 2-D,
// 128-byte swizzle, zeros outside, whole L2 sectors of 256 bytes.
#include "kernels/cuda/gemm/tensor_map.h"

namespace fathom::cuda::gemm {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

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

bool can_map(const void* data, int element_bytes, int64_t row_stride) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && row_stride * element_bytes % 16 == 0;
}

cudaError_t make_map(const MatrixView& view, CUtensorMap* map) {
  const Encode encode = encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t shape[2] = {static_cast<cuuint64_t>(view.cols),
                               static_cast<cuuint64_t>(view.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(view.row_stride * view.element_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(128 / view.element_bytes),
                             static_cast<cuuint32_t>(view.box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUtensorMapDataType type = view.element_bytes == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                   : view.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                             : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const CUresult result =
      encode(map, type, 2, const_cast<void*>(view.data), shape, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace fathom::cuda::gemm
