// Which tokens go to which expert? Pairs of a token and a slot are grouped by expert, so each
// expert's weights are read once per call; every pair gets its own output row, and a token's rows
// are added in slot order at the end. So the result of a token does not depend on which other
// tokens share its experts.
#pragma once

#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/share.h"
#include "kernels/ops.h"

namespace fathom::cpu {

// The (token, slot) pairs of each local expert: those of expert e are pairs[begin[e] .. begin[e +
// 1]).
struct Groups {
  int32_t* begin;
  int32_t* pair;  // token * chosen + slot, ascending inside an expert
  int32_t* at;    // place of a pair in the order above, -1 for experts of other ranks
  int32_t count;
};

inline Groups group_by_expert(const ExpertsParams& p, Workspace& workspace) {
  const auto experts = static_cast<int32_t>(p.experts.size());
  const int32_t pairs = p.rows * p.chosen;
  Groups g{workspace.take<int32_t>(experts + 2), workspace.take<int32_t>(pairs),
           workspace.take<int32_t>(pairs), 0};
  std::fill_n(g.begin, experts + 2, 0);
  const auto local = [&](int32_t i) {
    const int32_t e = p.ids[i] - p.first_expert;
    return e >= 0 && e < experts ? e : -1;
  };
  for (int32_t i = 0; i < pairs; ++i)
    if (const int32_t e = local(i); e >= 0) ++g.begin[e + 2];
  for (int32_t e = 2; e < experts + 2; ++e) g.begin[e] += g.begin[e - 1];
  for (int32_t i = 0; i < pairs; ++i) {
    const int32_t e = local(i);
    g.at[i] = e < 0 ? -1 : g.begin[e + 1]++;
    if (e >= 0) g.pair[g.at[i]] = i;
  }
  g.count = g.begin[experts];
  return g;
}

// A run of outputs of one expert.
struct Piece {
  int32_t expert, first, outs;
};

// Cuts outputs [begin, end) of experts [from, to) that have tokens into pieces of `step`.
inline int32_t cut(const Groups& g, int32_t from, int32_t to, int32_t begin, int32_t end,
                   int32_t step, Piece* pieces) {
  int32_t n = 0;
  for (int32_t e = from; e < to; ++e)
    for (int32_t first = begin; g.begin[e] < g.begin[e + 1] && first < end; first += step)
      pieces[n++] = {e, first, std::min(step, end - first)};
  return n;
}
inline int32_t cut(const Groups& g, int32_t experts, int32_t width, int32_t step, Piece* pieces) {
  return cut(g, 0, experts, 0, width, step, pieces);
}

// Neighbouring experts whose tokens are copied at a time: of [from, experts) as many as have 64
// pairs a lane together, 256 at most, and one at least. So the copies do not grow with the step.
inline int32_t slice_end(const Groups& g, int32_t experts, int32_t from, int lanes) {
  const int32_t pairs = 64 * std::min(lanes, 4);
  int32_t to = from + 1;
  while (to < experts && g.begin[to + 1] - g.begin[from] <= pairs) ++to;
  return to;
}

// Columns of the pairs' outputs that are there at a time: whole steps, about 512 KB. All of them in
// a step that decodes.
inline constexpr int32_t kBandFloats = 1 << 17;
inline int32_t band_columns(const Groups& g, int32_t hidden, int32_t step) {
  return std::clamp(kBandFloats / g.count / step * step, step, (hidden + step - 1) / step * step);
}

// out[t] += the sum over slots j of weights[t, j] * y[place of (t, j)], for columns [first, first +
// count); y is [pairs, count].
inline void add_in_slot_order(const Inner& inner, const OpContext& ctx, const ExpertsParams& p,
                              const Groups& groups, const float* y, int32_t first, int32_t count) {
  add_slots(inner, ctx,
            {.y = y,
             .at = groups.at,
             .weights = p.weights,
             .rows = p.rows,
             .chosen = p.chosen,
             .width = count,
             .out = p.out + first,
             .out_stride = p.out_stride});
}

}  // namespace fathom::cpu
