// How are rows normed, alone and after an addition? One block a row; norm.cuh does the row.
#include "kernels/cuda/norm.cuh"

#include "kernels/cuda/operations.h"
#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/quantise.h"

namespace fathom::cuda {
namespace {

struct NormArgs {
  const float* x;
  int64_t x_stride;
  const float* add;  // the same rows
  float* sum;        // x + add goes here
  Weight weight;
  float eps;
  void* out;
  DType out_dtype;
  int64_t out_stride;
  QuantisedRows codes;
};

// Blocks a multiprocessor: with a V3 row, 86 KB are on their way alone, 114 KB of two added ones.
// kCodes: and what is stored, quantised; a warp has 128 columns of a fast row at a time.
template <bool kAdd, bool kFast, bool kCodes>
__global__ void __launch_bounds__(kNormThreads, kFast ? 2 : 1) norm_rows(const NormArgs p) {
  const int64_t row = blockIdx.x;
  const int32_t width = p.weight.cols;
  const NormWeight<kFast> weight(p.weight, static_cast<int32_t>(blockDim.x));
  wait_for_previous();
  const float* x = p.x + row * p.x_stride;
  const float* more = p.add + row * p.x_stride;
  float* sum = p.sum + row * p.x_stride;
  void* out = row_of(p.out, p.out_dtype, row, p.out_stride);
  norm_row(
      weight, p.eps, static_cast<int32_t>(blockDim.x),
      [&](int32_t i) {
        Quad q = load_quad<kFast>(x, i, width);
        if constexpr (kAdd) {
          const Quad a = load_quad<kFast>(more, i, width);
#pragma unroll
          for (int j = 0; j < 4; ++j) q.v[j] += a.v[j];
        }
        return q;
      },
      [&](int32_t i, const Quad& q) {
        if constexpr (kAdd) store_quad<kFast>(sum, DType::f32, i, width, q);
      },
      [&](int32_t i) { return load_quad<kFast>(kAdd ? sum : x, i, width); },
      [&](int32_t i, const Quad& q) {
        store_quad<kFast>(out, p.out_dtype, i, width, q);
        if constexpr (kCodes) store_quantised(p.codes, row, i, width, as_kept(q, p.out_dtype));
      });
}

template <bool kAdd>
void norm(const OpContext& ctx, const char* name, int32_t rows, int32_t width, NormArgs p) {
  if (width <= 0) return;
  p.weight.cols = width;
  const bool fast = fast_norm(p.weight, width) && whole_rows(p.x, DType::f32, p.x_stride, width) &&
                    whole_rows(p.out, p.out_dtype, p.out_stride, width) &&
                    (!kAdd || whole_rows(p.add, DType::f32, p.x_stride, width));
  const bool codes = p.codes.codes != nullptr;
  launch(device_of(ctx), name,
         !fast   ? norm_rows<kAdd, false, false>
         : codes ? norm_rows<kAdd, true, true>
                 : norm_rows<kAdd, true, false>,
         {.grid = dim3(static_cast<unsigned>(std::max(rows, 0))),
          .block = dim3(static_cast<unsigned>(norm_threads(width)))},
         p);
  if (codes && !fast && rows > 0)
    quantise_into(ctx, name, {p.out, p.out_dtype, p.out_stride, rows, width}, p.codes);
}

}  // namespace

void rms_norm(const OpContext& ctx, const RmsNormParams& p) {
  norm<false>(ctx, "rms_norm", p.rows, p.width,
              {.x = p.x,
               .x_stride = p.x_stride,
               .weight = p.weight,
               .eps = p.eps,
               .out = p.out,
               .out_dtype = p.out_dtype,
               .out_stride = p.out_stride,
               .codes = p.codes});
}

void add_norm(const OpContext& ctx, const AddNormParams& p) {
  norm<true>(ctx, "add_norm", p.rows, p.width,
             {.x = p.x,
              .x_stride = p.width,
              .add = p.add,
              .sum = p.x,
              .weight = p.weight,
              .eps = p.eps,
              .out = p.out,
              .out_dtype = p.out_dtype,
              .out_stride = p.out_stride,
              .codes = p.codes});
}

}  // namespace fathom::cuda
