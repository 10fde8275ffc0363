// Which tokens go to which expert? Pairs of a token and a slot are grouped by expert, so each
// expert's weights are read once per call; every pair gets its own output row, and a token's rows
// are added in slot order at the end. So the result of a token does not depend on which other
// tokens share its experts.
#pragma once

#include <algorithm>

#include "kernels/cpu/inner.h"
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

// Cuts `width` outputs of every expert that has tokens into pieces of `step`.
inline int32_t cut(const Groups& g, int32_t experts, int32_t width, int32_t step, Piece* pieces) {
  int32_t n = 0;
  for (int32_t e = 0; e < experts; ++e)
    for (int32_t first = 0; g.begin[e] < g.begin[e + 1] && first < width; first += step)
      pieces[n++] = {e, first, std::min(step, width - first)};
  return n;
}

}  // namespace fathom::cpu
