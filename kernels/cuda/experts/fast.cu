// How do tokens pass through their experts on tensor cores? Rows of tokens are gathered in order of
// their experts, as bf16 in the order products take them; gate and up make one product whose
// results pass SwiGLU where they stand; down makes another; each token's rows are added up.
#include "kernels/cuda/experts/grouped.cuh"
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/gemm/tensor_map.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

using grouped::kHalfRows;

bool same_shape(const ExpertMatrix& a, const ExpertMatrix& b) {
  return a.first.dtype == b.first.dtype && a.first.row_stride == b.first.row_stride &&
         a.data_step == b.data_step && a.scale_step == b.scale_step &&
         a.first.scale_stride == b.first.scale_stride;
}

// Experts as one matrix of rows; a multiple of a row's bytes lies between them.
bool is_one_matrix(const ExpertMatrix& m) {
  const Weight& w = m.first;
  const int64_t row = w.row_stride * dtype_bytes(w.dtype);
  const bool scaled = w.dtype == DType::f8_e4m3;
  return (scaled || w.dtype == DType::bf16) && w.cols % kOrderBlock == 0 &&
         gemm::can_map(w.data, static_cast<int>(dtype_bytes(w.dtype)), w.row_stride) &&
         m.data_step % row == 0 && (!scaled || (w.scale_row == 0 && w.scale_col == 0));
}

int64_t rows_between(const ExpertMatrix& m) {
  return m.data_step / (m.first.row_stride * dtype_bytes(m.first.dtype));
}

// The matrix of all experts, and tokens in boxes of every width.
bool map(CudaDevice& device, const ExpertMatrix& m, int32_t experts, int64_t rows_last,
         const void* tokens, int64_t pairs, grouped::Maps* maps) {
  const Weight& w = m.first;
  cudaError_t error = gemm::make_map({.data = w.data,
                                      .element_bytes = static_cast<int>(dtype_bytes(w.dtype)),
                                      .rows = (experts - 1) * rows_between(m) + rows_last,
                                      .cols = w.cols,
                                      .row_stride = w.row_stride,
                                      .box_rows = kHalfRows},
                                     &maps->weights);
  for (int i = 0; i < kWidths && error == cudaSuccess; ++i)
    error = gemm::make_map({.data = tokens,
                            .rows = pairs,
                            .cols = w.cols,
                            .row_stride = w.cols,
                            .box_rows = width_of(i)},
                           &maps->tokens[i]);
  device.check(error, "experts");
  return error == cudaSuccess;
}

template <bool kE4m3, bool kGateUp, int kMost>
void start(CudaDevice& device, const grouped::Maps& maps, grouped::Work work, int64_t pairs) {
  constexpr int kPair = kMost == 32 ? 1 : 2;  // few tokens are not worth waiting for each other
  using S = grouped::Shape<kE4m3, kGateUp, kMost, kPair>;
  const int64_t units = tiles_bound(pairs, work.experts, kMost) * ceil_div(work.panels, kPair);
  const int64_t clusters = std::min<int64_t>(device.multiprocessors() / kPair, units);
  launch(
      device, "experts", grouped::multiply_groups<S>,
      {static_cast<unsigned>(clusters * kPair), grouped::kThreads, S::shared(work.experts), kPair},
      maps, work);
}

template <bool kE4m3, int kMost>
void run(const OpContext& ctx, const ExpertsParams& p, const ExpertMatrices& m) {
  CudaDevice& device = device_of(ctx);
  const int64_t pairs = int64_t{p.rows} * p.chosen;
  const auto room = [&](int64_t n) { return static_cast<size_t>(n); };
  uint16_t* x = ctx.scratch->take_span<uint16_t>(room(pairs * m.hidden)).data();
  uint16_t* middle = ctx.scratch->take_span<uint16_t>(room(pairs * m.width)).data();
  float* y = ctx.scratch->take_span<float>(room(pairs * m.hidden)).data();
  grouped::Maps gate_up, down;
  if (!map(device, m.gate, m.experts, int64_t{2} * m.width, x, pairs, &gate_up)) return;
  if (!map(device, m.down, m.experts, m.hidden, middle, pairs, &down)) return;

  const ExpertPlan plan = gather_by_expert(ctx, p, kMost, kE4m3, x);
  const int64_t row_bytes = m.gate.first.row_stride * dtype_bytes(m.gate.first.dtype);
  const int64_t apart =
      static_cast<const char*>(m.up.first.data) - static_cast<const char*>(m.gate.first.data);
  start<kE4m3, true, kMost>(device, gate_up,
                            {.plan = plan,
                             .experts = m.experts,
                             .most = kMost,
                             .panels = m.width / kHalfRows,
                             .panel_rows = kHalfRows,
                             .rows = static_cast<int32_t>(rows_between(m.gate)),
                             .second = static_cast<int32_t>(apart / row_bytes),
                             .columns = m.hidden,
                             .scale = m.gate.first.scale,
                             .second_scale = m.up.first.scale,
                             .scale_step = m.gate.scale_step,
                             .scale_stride = m.gate.first.scale_stride,
                             .out = middle,
                             .out_width = m.width},
                            pairs);
  start<kE4m3, false, kMost>(device, down,
                             {.plan = plan,
                              .experts = m.experts,
                              .most = kMost,
                              .panels = static_cast<int32_t>(ceil_div(m.hidden, 2 * kHalfRows)),
                              .panel_rows = 2 * kHalfRows,
                              .rows = static_cast<int32_t>(rows_between(m.down)),
                              .second = kHalfRows,
                              .columns = m.width,
                              .scale = m.down.first.scale,
                              .second_scale = m.down.first.scale,
                              .scale_step = m.down.scale_step,
                              .scale_stride = m.down.first.scale_stride,
                              .out = y,
                              .out_width = m.hidden},
                             pairs);
  add_in_slot_order(ctx, p, plan, y);
}

template <bool kE4m3>
void run(const OpContext& ctx, const ExpertsParams& p, const ExpertMatrices& m) {
  // Bits are the same for every tile (tests/unit/cuda/experts_test.cpp). Narrow ones leave more
  // room for weights on their way; wide ones read weights once for more tokens.
  if (int64_t{p.rows} * p.chosen <= int64_t{24} * m.experts)
    run<kE4m3, 32>(ctx, p, m);
  else
    run<kE4m3, 128>(ctx, p, m);
}

}  // namespace

bool fits_fast(const ExpertsParams& p) {
  const ExpertMatrices m = matrices_of(p);
  const int64_t x_bytes = dtype_bytes(p.x_dtype);
  const int64_t row_bytes = m.gate.first.row_stride * dtype_bytes(m.gate.first.dtype);
  const int64_t apart =
      static_cast<const char*>(m.up.first.data) - static_cast<const char*>(m.gate.first.data);
  return is_one_matrix(m.gate) && is_one_matrix(m.up) && is_one_matrix(m.down) &&
         same_shape(m.gate, m.up) && m.down.first.dtype == m.gate.first.dtype &&
         apart == m.width * row_bytes && m.experts <= 512 &&
         reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && p.x_stride * x_bytes % 16 == 0 &&
         (p.x_dtype == DType::f32 || p.x_dtype == DType::bf16);
}

void experts_fast(const OpContext& ctx, const ExpertsParams& p) {
  const ExpertMatrices m = matrices_of(p);
  if (m.gate.first.dtype == DType::f8_e4m3)
    run<true>(ctx, p, m);
  else
    run<false>(ctx, p, m);
}

}  // namespace fathom::cuda
