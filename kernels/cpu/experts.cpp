// How do tokens pass through their experts? Tokens are grouped by expert, so each expert's weights
// are read once per call; every (token, slot) gets its own output row, and a token's rows are added
// in slot order at the end. So the result of a token does not depend on which other tokens share
// its experts.
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/quantised.h"

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

  // Those of expert e among rows that begin with expert `from`.
  Rows rows(const Rows& all, int32_t e, int32_t from) const {
    return rows_of(all, groups.begin[e] - groups.begin[from],
                   groups.begin[e + 1] - groups.begin[e]);
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

// middle = silu(gate x) * (up x) for every pair of the experts from `from` on; `other` is a buffer
// of the same shape.
void gate_and_up(const Pass& s, int32_t from, const Rows& x, const Piece* pieces, int32_t count,
                 float* middle, float* other) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    const auto& w = s.p.experts[static_cast<size_t>(piece.expert)];
    const Rows mine = s.rows(x, piece.expert, from);
    const int64_t at =
        int64_t{s.groups.begin[piece.expert] - s.groups.begin[from]} * s.width + piece.first;
    s.dots(lane, mine, w.gate, piece, middle + at, s.width);
    s.dots(lane, mine, w.up, piece, other + at, s.width);
    for (int32_t r = 0; r < mine.count; ++r) {
      const int64_t row = at + int64_t{r} * s.width;
      s.inner.swiglu(middle + row, other + row, piece.outs, middle + row);
    }
  });
  if (s.ctx.compute == Compute::fp8)
    quantise_rows(s.ctx, middle, s.width, x.count, s.width, middle);
}

// Experts [from, to), from tokens to the rows that `down` takes: [pairs, width], or padded and
// rounded.
void up_to_middle(const Pass& s, int32_t from, int32_t to, Piece* pieces, int32_t step,
                  float* middle) {
  Workspace workspace(s.ctx);
  const int32_t first = s.groups.begin[from], pairs = s.groups.begin[to] - first;
  if (pairs == 0) return;
  const bool exact = s.ctx.compute != Compute::bfloat16;
  const int64_t row = exact ? s.hidden : padded_width(s.hidden);
  float* x = workspace.take<float>(pairs * row);
  const auto token = [&](int32_t i) {
    return floats(s.p.x, s.p.x_dtype) + s.groups.pair[first + i] / s.p.chosen * s.p.x_stride;
  };
  // Rounded rows may be packed into half of their room.
  const bool packed = !exact && s.inner.packs_bf16;
  const int64_t bytes = row * (packed ? 2 : 4);
  share_rows(s.ctx, pairs, pairs * row, [&](int32_t i) {
    auto* to_row = reinterpret_cast<float*>(reinterpret_cast<char*>(x) + i * bytes);
    if (exact)
      std::copy_n(token(i), s.hidden, to_row);
    else
      prepare_rows(s.inner, OpContext{}, s.ctx.compute, token(i), s.hidden, 1, s.hidden, to_row);
  });
  float* other = workspace.take<float>(int64_t{pairs} * s.width);
  float* gated =
      exact ? middle + int64_t{first} * s.width : workspace.take<float>(int64_t{pairs} * s.width);
  gate_and_up(s, from, {x, row, pairs, packed}, pieces,
              cut(s.groups, from, to, 0, s.width, step, pieces), gated, other);
  if (!exact) {
    const int64_t begin = first * padded_width(s.width) * (packed ? 2 : 4);
    prepare_rows(s.inner, s.ctx, s.ctx.compute, gated, s.width, pairs, s.width,
                 reinterpret_cast<float*>(reinterpret_cast<char*>(middle) + begin));
  }
}

// Columns [begin, begin + columns) of every pair's output.
void down(const Pass& s, const Rows& middle, const Piece* pieces, int32_t count, int32_t begin,
          int32_t columns, float* y) {
  share(s.ctx, s.lanes, count, [&](int lane, int i) {
    const Piece& piece = pieces[i];
    s.dots(lane, s.rows(middle, piece.expert, 0),
           s.p.experts[static_cast<size_t>(piece.expert)].down, piece,
           y + int64_t{s.groups.begin[piece.expert]} * columns + (piece.first - begin), columns);
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
  const bool exact = ctx.compute != Compute::bfloat16;
  const int64_t row = exact ? width : padded_width(width);
  float* middle = workspace.take<float>(groups.count * row);
  for (int32_t from = 0, to; from < experts; from = to) {
    to = slice_end(groups, experts, from, lanes);
    up_to_middle(pass, from, to, pieces, step, middle);
  }

  const Rows rows{middle, row, groups.count, !exact && inner.packs_bf16};
  const int32_t band = band_columns(groups, hidden, step);
  float* y = workspace.take<float>(int64_t{groups.count} * band);
  for (int32_t first = 0; first < hidden; first += band) {
    const int32_t columns = std::min(band, hidden - first);
    down(pass, rows, pieces, cut(groups, 0, experts, first, first + columns, step, pieces), first,
         columns, y);
    add_in_slot_order(inner, ctx, p, groups, y, first, columns);
  }
}

}  // namespace fathom::cpu
