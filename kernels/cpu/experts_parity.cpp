// How do tokens pass through their experts with even and odd lanes apart? As in experts.cpp, but
// each expert's tokens are packed, once for gate and up and once for down.
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/parity.h"
#include "kernels/cpu/quantised.h"

namespace fathom::cpu {
namespace {

struct ParityPass {
  const Inner& inner;
  const OpContext& ctx;
  const ExpertsParams& p;
  const Groups& groups;
  int lanes;
  int32_t hidden, width;
  bool round;
  int64_t panel;
  float* panels;

  int32_t experts() const { return static_cast<int32_t>(p.experts.size()); }
  int32_t count(int32_t e) const { return groups.begin[e + 1] - groups.begin[e]; }
  // `next` and `next_first` say where the lane most likely goes on: parity.h.
  void multiply(int lane, const ParityRows& x, const Weight& w, const Piece& piece, float* y,
                int64_t stride, const Weight& next, int32_t next_first) const {
    parity_avx2()->multiply({.x = x,
                             .w = w,
                             .first = piece.first,
                             .outs = piece.outs,
                             .round = round,
                             .y = y,
                             .y_stride = stride,
                             .panel = panels + lane * panel,
                             .next = next,
                             .next_first = next_first});
  }
};

// The tokens of experts [from, to), each packed to `data[e]` for one of its matrices; row(i) is the
// row of pair i.
template <class Row>
void pack_all(const ParityPass& s, int32_t from, int32_t to, const ParityRows* tokens,
              float* const* data, const Row& row) {
  struct Job {
    int32_t expert, tile;
  };
  Workspace workspace(s.ctx);
  auto* jobs = workspace.take<Job>(s.groups.begin[to] - s.groups.begin[from] + 1);
  int32_t n = 0;
  int64_t work = 0;
  for (int32_t e = from; e < to; ++e) {
    work += tokens[e].floats();
    for (int32_t t = 0; t < tokens[e].tiles(); ++t) jobs[n++] = {e, t};
  }
  share_rows(s.ctx, n, work, [&](int32_t j) {
    const Job& job = jobs[j];
    pack_tile(tokens[job.expert], job.tile, s.round, data[job.expert],
              [&](int32_t r) { return row(s.groups.begin[job.expert] + r); });
  });
}

// Packed tokens of every expert, as one of its matrices wants them.
struct Packed {
  ParityRows* tokens;  // [experts]
  float** data;        // [experts]
};
Packed packed_for(const ParityPass& s, Workspace& workspace, Weight ExpertWeights::*which) {
  Packed packed{workspace.take<ParityRows>(s.experts()), workspace.take<float*>(s.experts())};
  for (int32_t e = 0; e < s.experts(); ++e)
    packed.tokens[e] = ParityRows::of(s.p.experts[static_cast<size_t>(e)].*which, s.count(e));
  return packed;
}
void take_room(const Packed& packed, int32_t from, int32_t to, Workspace& workspace) {
  for (int32_t e = from; e < to; ++e)
    packed.tokens[e].data = packed.data[e] = workspace.take<float>(packed.tokens[e].floats());
}

// gated = silu(gate x) * (up x) for every pair of experts [from, to). What up gives stands where
// the expert's packed rows will be.
void gate_and_up(const ParityPass& s, int32_t from, const ParityRows* x, const Piece* pieces,
                 int32_t count, float* gated, float* const* packed) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    const auto& w = s.p.experts[static_cast<size_t>(piece.expert)];
    float* gate = gated + int64_t{s.groups.begin[piece.expert] - s.groups.begin[from]} * s.width +
                  piece.first;
    float* up = packed[piece.expert] + piece.first;
    const Piece& then = pieces[std::min(i + 1, count - 1)];
    s.multiply(lane, x[piece.expert], w.gate, piece, gate, s.width, w.up, piece.first);
    s.multiply(lane, x[piece.expert], w.up, piece, up, s.width,
               s.p.experts[static_cast<size_t>(then.expert)].gate, then.first);
    for (int64_t at = 0; at < int64_t{s.count(piece.expert)} * s.width; at += s.width)
      s.inner.swiglu(gate + at, up + at, piece.outs, gate + at);
  });
}

// Experts [from, to), from tokens to what `down` takes.
void up_to_middle(const ParityPass& s, int32_t from, int32_t to, const Packed& x,
                  const Packed& middle, Piece* pieces, int32_t step) {
  Workspace workspace(s.ctx);
  const int32_t first = s.groups.begin[from], pairs = s.groups.begin[to] - first;
  if (pairs == 0) return;
  take_room(x, from, to, workspace);
  pack_all(s, from, to, x.tokens, x.data, [&](int32_t i) {
    return floats(s.p.x, s.p.x_dtype) + s.groups.pair[i] / s.p.chosen * s.p.x_stride;
  });
  float* gated = workspace.take<float>(int64_t{pairs} * s.width);
  gate_and_up(s, from, x.tokens, pieces, cut(s.groups, from, to, 0, s.width, step, pieces), gated,
              middle.data);
  if (s.ctx.compute == Compute::fp8) quantise_rows(s.ctx, gated, s.width, pairs, s.width, gated);
  pack_all(s, from, to, middle.tokens, middle.data,
           [&](int32_t i) { return gated + int64_t{i - first} * s.width; });
}

// Columns [begin, begin + columns) of every pair's output.
void down(const ParityPass& s, const ParityRows* middle, const Piece* pieces, int32_t count,
          int32_t begin, int32_t columns, float* y) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    const Piece& then = pieces[std::min(i + 1, count - 1)];
    s.multiply(lane, middle[piece.expert], s.p.experts[static_cast<size_t>(piece.expert)].down,
               piece, y + int64_t{s.groups.begin[piece.expert]} * columns + (piece.first - begin),
               columns, s.p.experts[static_cast<size_t>(then.expert)].down, then.first);
  });
}

// Gate and up share their packed tokens, and all must be of a kind that a single row profits from.
bool alike(const ExpertsParams& p) {
  return std::ranges::all_of(p.experts, [](const ExpertWeights& w) {
    return w.gate.dtype == w.up.dtype && parity_takes(w.gate.dtype, 1) &&
           parity_takes(w.down.dtype, 1);
  });
}

}  // namespace

void experts_parity(const Inner& inner, const OpContext& ctx, const ExpertsParams& p) {
  if (!alike(p)) return experts(inner, ctx, p);
  if (p.rows == 0 || p.experts.empty()) return;
  Workspace workspace(ctx);
  const Groups groups = group_by_expert(p, workspace);
  if (groups.count == 0) return;
  const int32_t hidden = p.experts[0].gate.cols, width = p.experts[0].gate.rows;
  const int lanes = lanes_for(ctx, 64, int64_t{groups.count} * hidden * width * 3);
  const int64_t panel = parity_panel_floats(std::max(hidden, width));
  const ParityPass pass{inner, ctx,
                        p,     groups,
                        lanes, hidden,
                        width, ctx.compute == Compute::bfloat16,
                        panel, workspace.take<float>(panel * lanes)};

  // Whole panels, and for e4m3 whole blocks of scales.
  const int32_t step = p.experts[0].gate.dtype == DType::f8_e4m3 ? kScaleBlock : 4 * kParityPanel;
  // Many pairs' outputs are there half as many columns at a time.
  const int32_t down_step = int64_t{groups.count} * step > kBandFloats ? step / 2 : step;
  auto* pieces = workspace.take<Piece>(int64_t{pass.experts()} *
                                       ((std::max(hidden, width) + down_step - 1) / down_step));
  const Packed x = packed_for(pass, workspace, &ExpertWeights::gate),
               middle = packed_for(pass, workspace, &ExpertWeights::down);
  take_room(middle, 0, pass.experts(), workspace);
  for (int32_t from = 0, to; from < pass.experts(); from = to) {
    to = slice_end(groups, pass.experts(), from, lanes);
    up_to_middle(pass, from, to, x, middle, pieces, step);
  }

  const int32_t band = band_columns(groups, hidden, down_step);
  float* y = workspace.take<float>(int64_t{groups.count} * band);
  for (int32_t first = 0; first < hidden; first += band) {
    const int32_t columns = std::min(band, hidden - first);
    down(pass, middle.tokens, pieces,
         cut(groups, 0, pass.experts(), first, first + columns, down_step, pieces), first, columns,
         y);
    add_in_slot_order(inner, ctx, p, groups, y, first, columns);
  }
}

}  // namespace fathom::cpu
