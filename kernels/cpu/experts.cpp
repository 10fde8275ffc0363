// How do tokens pass through their experts? Tokens are grouped by expert, so each expert's weights
// are read once per call; every (token, slot) gets its own output row, and a token's rows are added
// in slot order at the end. So the result of a token does not depend on which other tokens share
// its experts.
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/operations.h"

namespace fathom::cpu {
namespace {

Rows rows_of(const Rows& all, int32_t first, int32_t count) {
  const int64_t bytes = first * all.stride * (all.packed ? 2 : 4);
  return {static_cast<const char*>(all.data) + bytes, all.stride, count, all.packed};
}

struct Pass {
  const Inner& inner;
  const OpContext& ctx;
  const ExpertsParams& p;
  const Groups& groups;
  int lanes;
  int32_t hidden, width;
  int64_t panel;
  float* panels;

  Rows rows(const Rows& all, int32_t e) const {
    return rows_of(all, groups.begin[e], groups.begin[e + 1] - groups.begin[e]);
  }
  void dots(int lane, const Rows& x, const Weight& w, const Piece& piece, float* y,
            int64_t stride) const {
    inner.dots({.x = x,
                .w = w,
                .first = piece.first,
                .outs = piece.outs,
                .round = ctx.compute == Compute::bfloat16,
                .y = y,
                .y_stride = stride,
                .panel = panels + lane * panel});
  }
};

// middle[i] = silu(gate x) * (up x) for every pair i; `other` is a buffer of the same shape.
void gate_and_up(const Pass& s, const Rows& x, const Piece* pieces, int32_t count, float* middle,
                 float* other) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    const auto& w = s.p.experts[static_cast<size_t>(piece.expert)];
    const Rows mine = s.rows(x, piece.expert);
    const int64_t at = int64_t{s.groups.begin[piece.expert]} * s.width + piece.first;
    s.dots(lane, mine, w.gate, piece, middle + at, s.width);
    s.dots(lane, mine, w.up, piece, other + at, s.width);
    for (int32_t r = 0; r < mine.count; ++r) {
      const int64_t row = at + int64_t{r} * s.width;
      s.inner.swiglu(middle + row, other + row, piece.outs, middle + row);
    }
  });
}

void down(const Pass& s, const Rows& middle, const Piece* pieces, int32_t count, float* y) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    s.dots(lane, s.rows(middle, piece.expert), s.p.experts[static_cast<size_t>(piece.expert)].down,
           piece, y + int64_t{s.groups.begin[piece.expert]} * s.hidden + piece.first, s.hidden);
  });
}

}  // namespace

void experts(const Inner& inner, const OpContext& ctx, const ExpertsParams& p) {
  if (p.rows == 0 || p.experts.empty()) return;
  Workspace workspace(ctx);
  const Groups groups = group_by_expert(p, workspace);
  if (groups.count == 0) return;
  const auto experts = static_cast<int32_t>(p.experts.size());
  const int32_t hidden = p.experts[0].gate.cols, width = p.experts[0].gate.rows;
  const int64_t work = int64_t{groups.count} * hidden * width * 3;
  const int lanes = lanes_for(ctx, 64, work);
  const int64_t panel = panel_floats(std::max(hidden, width));
  const Pass pass{
      inner, ctx, p, groups, lanes, hidden, width, panel, workspace.take<float>(panel * lanes)};

  const int32_t step = 4 * kPanelRows;
  auto* pieces =
      workspace.take<Piece>(int64_t{experts} * ((std::max(hidden, width) + step - 1) / step));
  float* middle = workspace.take<float>(int64_t{groups.count} * width);
  {
    Workspace first(ctx);  // given back before `y`, which is as large, is taken
    float* x = first.take<float>(int64_t{groups.count} * hidden);
    share_rows(ctx, groups.count, int64_t{groups.count} * hidden, [&](int32_t i) {
      std::copy_n(floats(p.x, p.x_dtype) + groups.pair[i] / p.chosen * p.x_stride, hidden,
                  x + int64_t{i} * hidden);
    });
    float* rounded = first.take<float>(groups.count * padded_width(hidden));
    const Rows x_rows =
        prepare_rows(inner, ctx, ctx.compute, x, hidden, groups.count, hidden, rounded);
    float* other = first.take<float>(int64_t{groups.count} * width);
    gate_and_up(pass, x_rows, pieces, cut(groups, experts, width, step, pieces), middle, other);
  }

  float* rounded = workspace.take<float>(groups.count * padded_width(width));
  const Rows middle_rows =
      prepare_rows(inner, ctx, ctx.compute, middle, width, groups.count, width, rounded);
  float* y = workspace.take<float>(int64_t{groups.count} * hidden);
  down(pass, middle_rows, pieces, cut(groups, experts, hidden, step, pieces), y);
  add_slots(inner, ctx,
            {.y = y,
             .at = groups.at,
             .weights = p.weights,
             .rows = p.rows,
             .chosen = p.chosen,
             .width = hidden,
             .out = p.out,
             .out_stride = p.out_stride});
}

}  // namespace fathom::cpu
