// How do tokens pass through their experts with matrix tiles? As in experts.cpp, but each expert's
// tokens are packed side by side, once for gate and up and once for down. Experts whose three
// matrices are cut differently take the other way.
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/tiles.h"

namespace fathom::cpu {
namespace {

struct TilePass {
  const Inner& inner;
  const Tiles& tiles;
  const OpContext& ctx;
  const ExpertsParams& p;
  const Groups& groups;
  int lanes;
  int32_t hidden, width;
  int64_t room;
  char* rooms;

  int32_t experts() const { return static_cast<int32_t>(p.experts.size()); }
  int32_t count(int32_t e) const { return groups.begin[e + 1] - groups.begin[e]; }
  void multiply(int lane, const TileTokens& x, const Weight& w, const Piece& piece, float* y,
                int64_t stride) const {
    const auto all = static_cast<int32_t>(TileTokens::tiles(x.count));
    const int32_t block = x.block_tiles();
    for (int32_t tile = 0; tile < all; tile += block)
      tiles.multiply({.x = x.some(tile, block),
                      .w = w,
                      .first = piece.first,
                      .outs = piece.outs,
                      .y = y + tile * kTileEdge * stride,
                      .y_stride = stride,
                      .workspace = rooms + lane * room});
  }
};

// The tokens of every expert, packed for one of its matrices; row(i) is the row of pair i.
template <class Row>
TileTokens* pack_all(const TilePass& s, Workspace& workspace, Weight ExpertWeights::*which,
                     int32_t cols, const Row& row) {
  struct Job {
    int32_t expert, tile;
    uint16_t* out;
  };
  auto* tokens = workspace.take<TileTokens>(s.experts());
  auto* jobs = workspace.take<Job>(s.groups.count);
  int32_t n = 0;
  for (int32_t e = 0; e < s.experts(); ++e) {
    const int32_t count = s.count(e);
    TileTokens& x = tokens[e];
    x = TileTokens::of(TileSteps::of(s.p.experts[static_cast<size_t>(e)].*which), count);
    auto* words = workspace.take<uint16_t>(x.words());
    x.data = words;
    for (int32_t t = 0; t < TileTokens::tiles(count); ++t)
      jobs[n++] = {e, t, words + t * x.tile_words()};
  }
  share_rows(s.ctx, n, int64_t{s.groups.count} * cols, [&](int32_t j) {
    const Job& job = jobs[j];
    const float* rows[kTileEdge];
    const int32_t first = job.tile * kTileEdge;
    const int32_t given = std::min(kTileEdge, s.count(job.expert) - first);
    for (int32_t i = 0; i < given; ++i) rows[i] = row(s.groups.begin[job.expert] + first + i);
    s.tiles.pack({.rows = rows,
                  .count = given,
                  .width = tokens[job.expert].width,
                  .steps = tokens[job.expert].steps,
                  .out = job.out});
  });
  return tokens;
}

// middle[i] = silu(gate x) * (up x) for every pair i; `other` is a buffer of the same shape.
void gate_and_up(const TilePass& s, const TileTokens* x, const Piece* pieces, int32_t count,
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

void down(const TilePass& s, const TileTokens* middle, const Piece* pieces, int32_t count,
          float* y) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    s.multiply(lane, middle[piece.expert], s.p.experts[static_cast<size_t>(piece.expert)].down,
               piece, y + int64_t{s.groups.begin[piece.expert]} * s.hidden + piece.first, s.hidden);
  });
}

bool alike(const ExpertsParams& p) {
  return std::ranges::all_of(p.experts, [](const ExpertWeights& w) {
    return TileSteps::of(w.gate) == TileSteps::of(w.up);
  });
}

}  // namespace

void experts_tiles(const Inner& inner, const OpContext& ctx, const ExpertsParams& p) {
  if (ctx.compute != Compute::bfloat16 || !alike(p)) return experts(inner, ctx, p);
  if (p.rows == 0 || p.experts.empty()) return;
  Workspace workspace(ctx);
  const Groups groups = group_by_expert(p, workspace);
  if (groups.count == 0) return;
  const int32_t hidden = p.experts[0].gate.cols, width = p.experts[0].gate.rows;
  const int lanes = lanes_for(ctx, 64, int64_t{groups.count} * hidden * width);
  const int64_t room = tile_workspace(p.rows);
  const TilePass pass{inner, *tiles_amx(), ctx,   p,    groups,
                      lanes, hidden,       width, room, workspace.take<char>(room * lanes)};

  // Reading a piece begins with an empty pipeline: few tokens, which leave memory the limit, make
  // longer ones.
  const int32_t step = (p.rows <= 32 ? 4 : 2) * kTilePanel;
  auto* pieces = workspace.take<Piece>(int64_t{pass.experts()} *
                                       ((std::max(hidden, width) + step - 1) / step));
  float* middle = workspace.take<float>(int64_t{groups.count} * width);
  {
    Workspace first(ctx);  // given back before `y`, which is as large, is taken
    const TileTokens* x = pack_all(pass, first, &ExpertWeights::gate, hidden, [&](int32_t i) {
      return floats(p.x, p.x_dtype) + groups.pair[i] / p.chosen * p.x_stride;
    });
    float* other = first.take<float>(int64_t{groups.count} * width);
    gate_and_up(pass, x, pieces, cut(groups, pass.experts(), width, step, pieces), middle, other);
  }

  const TileTokens* mid = pack_all(pass, workspace, &ExpertWeights::down, width,
                                   [&](int32_t i) { return middle + int64_t{i} * width; });
  float* y = workspace.take<float>(int64_t{groups.count} * hidden);
  down(pass, mid, pieces, cut(groups, pass.experts(), hidden, step, pieces), y);
  add_in_slot_order(inner, ctx, p, groups, y, 0, hidden);
}

}  // namespace fathom::cpu
