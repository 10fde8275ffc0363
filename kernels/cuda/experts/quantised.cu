// How do tokens pass through their experts as codes? Tokens are quantised once and gathered in
// order of their experts; gate and up make one product, whose results pass SwiGLU and are quantised
// again; down makes another; each token's rows are added up.
#include "kernels/cuda/experts/quantised.cuh"

#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/gemm/tensor_map.h"
#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/quantise.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

using gemm::Element;
using gemm::Split;

constexpr const char* kName = "experts";
constexpr int kThreads = 256;

int64_t rows_between(const ExpertMatrix& m) { return m.data_step / m.first.row_stride; }
// Rows from gate to up.
int64_t rows_apart(const ExpertMatrices& m) {
  const auto* gate = static_cast<const char*>(m.gate.first.data);
  return (static_cast<const char*>(m.up.first.data) - gate) / m.gate.first.row_stride;
}

// Where the rows of all experts' tokens stand as codes.
struct Gathered {
  QuantisedRows rows;                 // scales by tile, as Grouped has them
  int32_t* place = nullptr;           // [pairs]: of a row's scales
  int32_t* expert_of_tile = nullptr;  // [tiles]
};

// A thread block for each row of the plan: its token's codes and scales, and, for the first of its
// tile, whose tile it is.
__global__ void __launch_bounds__(kThreads)
    gather_codes(const QuantisedRows x, const ExpertPlan plan, const int32_t* ids,
                 int32_t first_expert, int32_t experts, int32_t chosen, int32_t most, int32_t width,
                 const Gathered out) {
  wait_for_previous();
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row >= plan.begin[experts]) return;
  const int32_t pair = plan.pair[row], token = pair / chosen;
  const int32_t expert = ids[pair] - first_expert;
  const int32_t begin = plan.begin[expert], count = plan.begin[expert + 1] - begin;
  const int32_t size = run_of(count, most, 0).count;  // of every tile but the last
  const int32_t inside = row - begin, tile = plan.tile_begin[expert] + inside / size;
  const int32_t place = tile * most + inside % size;
  if (threadIdx.x == 0) {
    out.place[row] = place;
    if (inside % size == 0) out.expert_of_tile[tile] = expert;
  }
  const auto* from = reinterpret_cast<const uint4*>(x.codes + token * x.stride);
  auto* to = reinterpret_cast<uint4*>(out.rows.codes + row * out.rows.stride);
  for (auto i = static_cast<int32_t>(threadIdx.x); i * 16 < width; i += kThreads) to[i] = from[i];
  for (auto b = static_cast<int32_t>(threadIdx.x); b * kScaleBlock < width; b += kThreads)
    out.rows.scales[b * out.rows.scale_stride + place] = x.scales[b * x.scale_stride + token];
}

// silu(gate) * up of [rows, 2 * width] as codes. A thread block for 1,024 columns of a row.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    quantise_gated(const float* gate_up, const ExpertPlan plan, int32_t experts, int32_t width,
                   const int32_t* place, const QuantisedRows out) {
  wait_for_previous();
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row >= plan.begin[experts]) return;
  const auto column = static_cast<int32_t>(blockIdx.y * blockDim.x + threadIdx.x) * 4;
  const float* from = gate_up + int64_t{row} * 2 * width;
  Quad q = load_quad<kWhole>(from, column, width);
  const Quad up = load_quad<kWhole>(from + width, column, width);
#pragma unroll
  for (int j = 0; j < 4; ++j) q.v[j] = gated(q.v[j], up.v[j]);
  const QuantisedQuad quantised = quantise_quad(q);
  if (column >= width) return;
  *reinterpret_cast<uint32_t*>(out.codes + row * out.stride + column) = quantised.codes;
  if (column % kScaleBlock == 0)
    out.scales[column / kScaleBlock * out.scale_stride + place[row]] = quantised.scale;
}

// Few tokens: tiles of 32 in a thread block alone. Many: tiles that two blocks share.
template <int kMost>
using Tiles = gemm::Shape<Element::codes, 2, kMost, kMost == 32 ? 10 : 6, Split::none, kMost != 32>;

template <int kMost>
struct Pass {
  using S = Tiles<kMost>;
  const OpContext& ctx;
  const ExpertsParams& p;
  const ExpertMatrices& m;
  CudaDevice& device = device_of(ctx);
  int64_t pairs = int64_t{p.rows} * p.chosen;
  int64_t tiles = tiles_bound(pairs, m.experts, kMost);

  QuantisedRows room(int32_t width) const {
    QuantisedRows out{.stride = ceil_div(width, 16) * 16, .scale_stride = tiles * kMost};
    out.codes = take<uint8_t>(pairs * out.stride);
    out.scales = take<float>(ceil_div(width, kScaleBlock) * out.scale_stride);
    return out;
  }
  template <class T>
  T* take(int64_t n) const {
    return ctx.scratch->take_span<T>(static_cast<size_t>(n)).data();
  }

  // out = the rows times matrix `a` of their experts, and, side by side with it, times `b`.
  void multiply(const QuantisedRows& rows, const ExpertMatrix& a, const ExpertMatrix* b,
                quantised::Grouped work) const {
    const Weight& w = a.first;
    CUtensorMap weights, tokens;
    const int64_t last = b == nullptr ? w.rows : rows_apart(m) + w.rows;
    device.check(gemm::make_map({.data = w.data,
                                 .element_bytes = 1,
                                 .rows = (m.experts - 1) * rows_between(a) + last,
                                 .cols = w.cols,
                                 .row_stride = w.row_stride,
                                 .box_rows = S::kRows},
                                &weights),
                 kName);
    device.check(gemm::make_map({.data = rows.codes,
                                 .element_bytes = 1,
                                 .rows = pairs,
                                 .cols = w.cols,
                                 .row_stride = rows.stride,
                                 .box_rows = S::kTokenBox},
                                &tokens),
                 kName);
    if (device.failed()) return;
    work.experts = m.experts;
    work.most = kMost;
    work.rows = w.rows;
    work.tile_rows = S::kTileRows;
    work.panels = gemm::up_div(w.rows, S::kTileRows);
    work.rows_between = static_cast<int32_t>(rows_between(a));
    work.scale = w.scale;
    work.scale_step = a.scale_step;
    work.scale_stride = w.scale_stride;
    if (b != nullptr) {
      work.halves = 2;
      work.second = static_cast<int32_t>(rows_apart(m));
      work.second_scale = b->first.scale;
    }
    work.token_scale = rows.scales;
    work.token_scale_stride = rows.scale_stride;
    const int64_t units = tiles * work.panels * work.halves;
    const int64_t at_once = device.multiprocessors() / S::kBlocks;
    launch(device, kName, gemm::product<S, quantised::Grouped>,
           {.grid = dim3(static_cast<unsigned>(std::min(units, at_once) * S::kBlocks)),
            .block = S::kThreads,
            .shared = S::kShared,
            .cluster = S::kBlocks},
           weights, tokens, work,
           gemm::Depth{.blocks = gemm::up_div(w.cols, gemm::kBlockDepth), .parts = 1});
  }

  void run() const {
    const QuantisedRows x =
        p.codes.codes != nullptr
            ? p.codes
            : quantise(ctx, kName, {p.x, p.x_dtype, p.x_stride, p.rows, m.hidden});
    const ExpertPlan plan = plan_experts(ctx, p, kMost);
    const Gathered gathered{room(m.hidden), take<int32_t>(pairs), take<int32_t>(tiles)};
    launch(device, kName, gather_codes, {static_cast<unsigned>(pairs), kThreads}, x, plan, p.ids,
           p.first_expert, m.experts, p.chosen, kMost, m.hidden, gathered);
    const quantised::Grouped work{.plan = plan, .expert_of_tile = gathered.expert_of_tile};
    auto gate_up = work, down = work;
    gate_up.out = take<float>(pairs * 2 * m.width);
    multiply(gathered.rows, m.gate, &m.up, gate_up);
    const QuantisedRows middle = room(m.width);
    launch(device, kName, m.width % 4 == 0 ? quantise_gated<true> : quantise_gated<false>,
           {{static_cast<unsigned>(pairs),
             static_cast<unsigned>(ceil_div(m.width, int64_t{kThreads} * 4))},
            kThreads},
           gate_up.out, plan, m.experts, m.width, gathered.place, middle);
    down.out = take<float>(pairs * m.hidden);
    multiply(middle, m.down, nullptr, down);
    add_in_slot_order(ctx, p, plan, down.out);
  }
};

// Experts as one matrix of rows that the copy engine can read.
bool is_one_matrix(const ExpertMatrix& m) {
  const Weight& w = m.first;
  return w.dtype == DType::f8_e4m3 && w.scale_row == 0 && w.scale_col == 0 &&
         gemm::can_map(w.data, 1, w.row_stride) && m.data_step % w.row_stride == 0 &&
         m.data_step >= 0;
}

}  // namespace

bool fits_quantised(const ExpertsParams& p) {
  const ExpertMatrices m = matrices_of(p);
  const auto* gate = static_cast<const char*>(m.gate.first.data);
  const int64_t apart = static_cast<const char*>(m.up.first.data) - gate;
  return is_one_matrix(m.gate) && is_one_matrix(m.up) && is_one_matrix(m.down) &&
         m.gate.first.row_stride == m.up.first.row_stride && m.gate.data_step == m.up.data_step &&
         m.gate.scale_step == m.up.scale_step &&
         m.gate.first.scale_stride == m.up.first.scale_stride && apart > 0 &&
         apart % m.gate.first.row_stride == 0;
}

void experts_quantised(const OpContext& ctx, const ExpertsParams& p) {
  const ExpertMatrices m = matrices_of(p);
  // Bits are the same for every tile; narrow ones waste less on experts of few tokens.
  if (int64_t{p.rows} * p.chosen <= int64_t{24} * m.experts)
    Pass<32>{ctx, p, m}.run();
  else
    Pass<128>{ctx, p, m}.run();
}

}  // namespace fathom::cuda
