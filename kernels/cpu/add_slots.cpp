// How do the rows of a token's experts become one? Added in the order of its slots into a sum of
// its own, which is then added to what is there: a token's bits depend on its rows alone, wherever
// they were computed.
#include <algorithm>

#include "kernels/cpu/operations.h"

namespace fathom::cpu {

void add_slots(const Inner& inner, const OpContext& ctx, const AddSlotsParams& p) {
  Workspace workspace(ctx);
  const int lanes = lanes_for(ctx, p.rows, int64_t{p.rows} * p.chosen * p.width);
  float* sums = workspace.take<float>(int64_t{lanes} * p.width);
  share(ctx, lanes, p.rows, [&](int lane, int t) {
    float* sum = sums + int64_t{lane} * p.width;
    std::fill_n(sum, p.width, 0.0f);
    for (int32_t j = 0; j < p.chosen; ++j) {
      const int32_t slot = t * p.chosen + j;
      if (p.at[slot] >= 0)
        inner.axpy(sum, p.weights[slot], p.y + int64_t{p.at[slot]} * p.width, p.width);
    }
    inner.add(p.out + t * p.out_stride, sum, p.width);
  });
}

}  // namespace fathom::cpu
