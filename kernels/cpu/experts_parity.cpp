// How do tokens pass through their experts with even and odd lanes apart? As in experts.cpp, but
// each expert's tokens are packed, once for gate and up and once for down.
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/parity.h"

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
  void multiply(int lane, const ParityRows& x, const Weight& w, const Piece& piece, float* y,
                int64_t stride) const {
    parity_avx2()->multiply({.x = x,
                             .w = w,
                             .first = piece.first,
                             .outs = piece.outs,
                             .round = round,
                             .y = y,
                             .y_stride = stride,
                             .panel = panels + lane * panel});
  }
};

// The tokens of every expert, packed for one of its matrices; row(i) is the row of pair i.
template <class Row>
ParityRows* pack_all(const ParityPass& s, Workspace& workspace, Weight ExpertWeights::*which,
                     const Row& row) {
  struct Job {
    int32_t expert, tile;
    float* out;
  };
  auto* tokens = workspace.take<ParityRows>(s.experts());
  auto* jobs = workspace.take<Job>(s.groups.count);
  int32_t n = 0;
  int64_t work = 0;
  for (int32_t e = 0; e < s.experts(); ++e) {
    ParityRows& x = tokens[e];
    x = ParityRows::of(s.p.experts[static_cast<size_t>(e)].*which, s.count(e));
    float* data = workspace.take<float>(x.floats());
    x.data = data;
    work += x.floats();
    for (int32_t t = 0; t < x.tiles(); ++t) jobs[n++] = {e, t, data + x.tile_at(t)};
  }
  share_rows(s.ctx, n, work, [&](int32_t j) {
    const Job& job = jobs[j];
    const ParityRows& x = tokens[job.expert];
    const float* rows[kParityTile];
    const int32_t begin = x.tile_begin(job.tile);
    for (int32_t r = begin; r < x.tile_begin(job.tile + 1); ++r)
      rows[r - begin] = row(s.groups.begin[job.expert] + r);
    parity_avx2()->pack({.x = x, .tile = job.tile, .rows = rows, .round = s.round, .out = job.out});
  });
  return tokens;
}

// middle[i] = silu(gate x) * (up x) for every pair i; `other` is a buffer of the same shape.
void gate_and_up(const ParityPass& s, const ParityRows* x, const Piece* pieces, int32_t count,
                 float* middle, float* other) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    const auto& w = s.p.experts[static_cast<size_t>(piece.expert)];
    const int64_t at = int64_t{s.groups.begin[piece.expert]} * s.width + piece.first;
    s.multiply(lane, x[piece.expert], w.gate, piece, middle + at, s.width);
    s.multiply(lane, x[piece.expert], w.up, piece, other + at, s.width);
    for (int32_t r = 0; r < s.count(piece.expert); ++r) {
      const int64_t row = at + int64_t{r} * s.width;
      s.inner.swiglu(middle + row, other + row, piece.outs, middle + row);
    }
  });
}

void down(const ParityPass& s, const ParityRows* middle, const Piece* pieces, int32_t count,
          float* y) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    s.multiply(lane, middle[piece.expert], s.p.experts[static_cast<size_t>(piece.expert)].down,
               piece, y + int64_t{s.groups.begin[piece.expert]} * s.hidden + piece.first, s.hidden);
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

  const int32_t step = 4 * kParityPanel;
  auto* pieces = workspace.take<Piece>(int64_t{pass.experts()} *
                                       ((std::max(hidden, width) + step - 1) / step));
  float* middle = workspace.take<float>(int64_t{groups.count} * width);
  {
    Workspace first(ctx);  // given back before `y`, which is as large, is taken
    const ParityRows* x = pack_all(pass, first, &ExpertWeights::gate, [&](int32_t i) {
      return floats(p.x, p.x_dtype) + groups.pair[i] / p.chosen * p.x_stride;
    });
    float* other = first.take<float>(int64_t{groups.count} * width);
    gate_and_up(pass, x, pieces, cut(groups, pass.experts(), width, step, pieces), middle, other);
  }

  const ParityRows* mid = pack_all(pass, workspace, &ExpertWeights::down,
                                   [&](int32_t i) { return middle + int64_t{i} * width; });
  float* y = workspace.take<float>(int64_t{groups.count} * hidden);
  down(pass, mid, pieces, cut(groups, pass.experts(), hidden, step, pieces), y);
  add_in_slot_order(inner, ctx, p, groups, y);
}

}  // namespace fathom::cpu
