// How is y = x W^T computed on a GPU? bfloat16: the tensor cores (gemm/gemm.cuh), which read bf16
// and FP8 weights as they lie; fp8: codes on both sides. float32, and what the copy engine can not
// read: plain multiply-add (gemm/exact.h). Which of them depends on the weight alone, never on the
// number of rows; the tile shapes do depend on it, and a test holds their bits equal.
#include "kernels/cuda/gemm/dense.cuh"
#include "kernels/cuda/gemm/exact.h"
#include "kernels/cuda/gemm/tensor_map.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/quantise.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

using gemm::Element;
using gemm::Split;

constexpr const char* kName = "linear";

// Rows of x as bf16, 8 values a thread; the columns up to `width` are zeros.
__global__ void round_rows(const void* x, DType dtype, int64_t stride, int cols, int width,
                           int64_t pieces, uint16_t* out) {
  wait_for_previous();
  const int64_t piece = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (piece >= pieces) return;
  const int64_t row = piece / (width / 8);
  const int col = static_cast<int>(piece % (width / 8)) * 8;
  uint16_t eight[8];
#pragma unroll
  for (int i = 0; i < 8; ++i)
    eight[i] = col + i < cols ? narrow_bf16(load(x, dtype, row * stride + col + i)) : uint16_t{0};
  uint4 packed;
  memcpy(&packed, eight, 16);
  reinterpret_cast<uint4*>(out)[piece] = packed;
}

struct Tokens {
  const void* data = nullptr;  // bf16; or codes, with scales
  int64_t stride = 0;
  const float* scales = nullptr;
  int64_t scale_stride = 0;
};

// x as the copy engine can read it: in place, or rounded into scratch.
Tokens tokens_of(const OpContext& ctx, const LinearParams& p) {
  if (p.x_dtype == DType::bf16 && gemm::can_map(p.x, 2, p.x_stride)) return {p.x, p.x_stride};
  const int width = static_cast<int>(ceil_div(p.weight.cols, 8) * 8);
  const int64_t pieces = int64_t{p.rows} * width / 8;
  auto* out = static_cast<uint16_t*>(ctx.scratch->take(static_cast<size_t>(pieces) * 16));
  launch(device_of(ctx), kName, round_rows,
         {dim3(static_cast<unsigned>(ceil_div(pieces, 256))), 256}, p.x, p.x_dtype, p.x_stride,
         p.weight.cols, width, pieces, out);
  return {out, width};
}

// Whether the tensor cores take this weight.
bool is_fast(const Weight& w) {
  if (w.dtype == DType::bf16) return gemm::can_map(w.data, 2, w.row_stride);
  return w.dtype == DType::f8_e4m3 && w.scale != nullptr && w.scale_row % gemm::kSlabRows == 0 &&
         w.scale_col == 0 && gemm::can_map(w.data, 1, w.row_stride);
}

template <class S>
void multiply(const OpContext& ctx, const LinearParams& p, const Tokens& x) {
  CudaDevice& device = device_of(ctx);
  const Weight& w = p.weight;
  CUtensorMap weights, tokens;
  device.check(gemm::make_map({.data = w.data,
                               .element_bytes = static_cast<int>(dtype_bytes(w.dtype)),
                               .rows = w.rows,
                               .cols = w.cols,
                               .row_stride = w.row_stride,
                               .box_rows = S::kRows},
                              &weights),
               kName);
  device.check(gemm::make_map({.data = x.data,
                               .element_bytes = S::kElement == Element::codes ? 1 : 2,
                               .rows = p.rows,
                               .cols = w.cols,
                               .row_stride = x.stride,
                               .box_rows = S::kTokenBox},
                              &tokens),
               kName);
  if (device.failed()) return;
  gemm::Dense work = {.rows = w.rows,
                      .tokens = p.rows,
                      .tile_rows = S::kTileRows,
                      .tile_tokens = S::kTokens,
                      .row_tiles = gemm::up_div(w.rows, S::kTileRows),
                      .token_tiles = gemm::up_div(p.rows, S::kTokens),
                      .y = p.y,
                      .y_stride = p.y_stride,
                      .scale = w.scale,
                      .scale_stride = w.scale_stride,
                      .scale_row = w.scale_row,
                      .token_scale = x.scales,
                      .token_scale_stride = x.scale_stride};
  work.y_mapped = S::kRoom > 0 && gemm::can_map(p.y, 4, p.y_stride);
  if (work.y_mapped)
    device.check(gemm::make_map({.data = p.y,
                                 .element_bytes = 4,
                                 .rows = p.rows,
                                 .cols = w.rows,
                                 .row_stride = p.y_stride,
                                 .box_rows = gemm::kPieceTokens},
                                &work.y_map),
                 kName);
  const gemm::Depth depth = {.blocks = gemm::up_div(w.cols, gemm::kBlockDepth),
                             .parts = gemm::parts_of(w.rows, w.cols)};
  const int tiles = work.row_tiles * work.token_tiles;
  const int together = S::kSplit == Split::cluster ? depth.parts : S::kBlocks;
  const int at_once =
      S::kSplit == Split::cluster ? tiles : device.multiprocessors() * S::kResident / together;
  launch(device, kName, gemm::product<S, gemm::Dense>,
         {.grid = dim3(static_cast<unsigned>(std::min(tiles, at_once) * together)),
          .block = S::kThreads,
          .shared = S::kShared,
          .cluster = together},
         weights, tokens, work, depth);
}

// Few rows: as many thread blocks as keep all multiprocessors fetching weights, K's parts in the
// blocks of a cluster. Many: tiles large enough for the tensor cores, and K's parts one after the
// other once that takes fewer waves. Every choice gives the same bits.
template <Element kElement>
void multiply_fast(const OpContext& ctx, const LinearParams& p, const Tokens& x) {
  using gemm::kPieceRoom;
  using gemm::Shape;
  const int parts = gemm::parts_of(p.weight.rows, p.weight.cols);
  // Stages that fill shared memory, by the width of the tile: bf16, FP8 with tokens of bf16, codes.
  constexpr auto stages = [](int bf16, int e4m3, int codes) {
    return kElement == Element::bf16 ? bf16 : kElement == Element::e4m3 ? e4m3 : codes;
  };
  const auto few = [&]<int kTokens, int kStages>() {
    if (parts > 1)
      multiply<Shape<kElement, 2, kTokens, kStages, Split::cluster>>(ctx, p, x);
    else
      multiply<Shape<kElement, 2, kTokens, kStages, Split::none>>(ctx, p, x);
  };
  if (p.rows <= 8) return few.template operator()<8, stages(11, 10, 12)>();
  if (p.rows <= 16) return few.template operator()<16, stages(10, 9, 11)>();
  if (p.rows <= 32) return few.template operator()<32, stages(9, 8, 10)>();
  if (p.rows <= 64) return few.template operator()<64, stages(7, 5, 7)>();
  if (p.rows <= 128 || gemm::parts_together(p.weight.rows, p.weight.cols, p.rows))
    return few.template operator()<128, stages(4, 3, 4)>();
  if (parts > 1) {
    constexpr int kRoom = kElement == Element::bf16 ? 2 * kPieceRoom : kPieceRoom;
    return multiply<Shape<kElement, 2, 128, stages(4, 3, 4), Split::serial, true, 1, kRoom>>(ctx, p,
                                                                                             x);
  }
  if constexpr (kElement == Element::bf16)
    if (gemm::waves(p.weight.rows, p.rows, 256, 256) * 2 <=
        gemm::waves(p.weight.rows, p.rows, 256, 128))
      return multiply<Shape<kElement, 2, 256, 4, Split::none, true, 1, 2 * kPieceRoom>>(ctx, p, x);
  multiply<Shape<kElement, 2, 128, stages(6, 4, 5), Split::none, true, 1, 2 * kPieceRoom>>(ctx, p,
                                                                                           x);
}

// What the tensor cores can not read is multiplied as float32, each code by its scale first.
void multiply_quantised(const OpContext& ctx, const LinearParams& p) {
  if (p.weight.scale_col != 0) return device_of(ctx).check(cudaErrorInvalidValue, kName);
  const PlainRows x = {p.x, p.x_dtype, p.x_stride, p.rows, p.weight.cols};
  if (is_fast(p.weight)) {
    const QuantisedRows q = p.codes.codes != nullptr ? p.codes : quantise(ctx, kName, x);
    return multiply_fast<Element::codes>(ctx, p, {q.codes, q.stride, q.scales, q.scale_stride});
  }
  const size_t values = static_cast<size_t>(p.rows) * static_cast<size_t>(p.weight.cols);
  float* quantised = ctx.scratch->take_span<float>(values).data();
  quantise_in_float(ctx, kName, x, quantised);
  LinearParams wide = p;
  wide.x = quantised;
  wide.x_dtype = DType::f32;
  wide.x_stride = p.weight.cols;
  gemm::multiply_exact(ctx, wide, false);
}

}  // namespace

void linear(const OpContext& ctx, const LinearParams& p) {
  if (p.rows == 0 || p.weight.rows == 0) return;
  const bool rounded = ctx.compute != Compute::float32 && !p.exact;
  if (rounded && ctx.compute == Compute::fp8 && p.weight.dtype == DType::f8_e4m3)
    return multiply_quantised(ctx, p);
  if (!rounded || !is_fast(p.weight)) return gemm::multiply_exact(ctx, p, rounded);
  if (p.weight.dtype == DType::bf16)
    multiply_fast<Element::bf16>(ctx, p, tokens_of(ctx, p));
  else
    multiply_fast<Element::e4m3>(ctx, p, tokens_of(ctx, p));
}

}  // namespace fathom::cuda
