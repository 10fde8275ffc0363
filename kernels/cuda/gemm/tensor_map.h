// How does the copy engine know a matrix? By a tensor map: where it lies, its shape, and the box
// one copy takes. The driver's function that makes one is looked up through the runtime, so nothing
// links libcuda.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace fathom::cuda::gemm {

// Rows of a row-major matrix as TMA boxes of `box_rows` rows x 128 bytes (128-byte swizzle).
struct MatrixView {
  const void* data = nullptr;  // 16-byte aligned
  int element_bytes = 2;       // 1 (copied as bytes), 2 (bf16) or 4 (float32)
  int64_t rows = 0, cols = 0;  // elements outside read as zeros
  int64_t row_stride = 0;      // elements; a multiple of 16 bytes
  int box_rows = 0;            // at most 256
};

// Whether TMA can read it: alignment of address and stride.
bool can_map(const void* data, int element_bytes, int64_t row_stride);
// cudaErrorInvalidValue when it can not, cudaErrorNotSupported without a driver that knows how.
cudaError_t make_map(const MatrixView& view, CUtensorMap* map);

}  // namespace fathom::cuda::gemm
