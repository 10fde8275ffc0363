// How do prompt rows attend on a GPU? DeepSeek's own shape in bfloat16: keys and values are
// expanded once for all rows of the chunk and attended on the tensor cores (flash/expanded.h), in
// windows of bounded memory. Any other shape, and float32: in latent space, which is the same sum
// in another order.
#include <algorithm>

#include "kernels/cuda/flash/expanded.h"
#include "kernels/cuda/flash/places.h"
#include "kernels/cuda/mla/exact.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace flash {
namespace {

constexpr int32_t kFewHeads = 8;  // below this many at a time blocks would not fill the GPU

template <class T>
T* take(const OpContext& ctx, int64_t count) {
  return static_cast<T*>(ctx.scratch->take(static_cast<size_t>(count) * sizeof(T)));
}

}  // namespace

bool takes(const OpContext& ctx, const MlaParams& p) {
  return ctx.compute == Compute::bfloat16 && p.nope == kNope && p.cache.rope == kRope &&
         p.value == kValue && p.cache.rank == kRank && reinterpret_cast<uintptr_t>(p.q) % 16 == 0 &&
         p.q_stride % 4 == 0 && reinterpret_cast<uintptr_t>(p.out) % 8 == 0 &&
         p.out_stride % 2 == 0;
}

// Heads are divided before positions: a window of all positions needs no states.
void mla_expanded(const OpContext& ctx, const MlaParams& p, int64_t pairs) {
  const AttentionTables& t = p.tables;
  Expanded e{.p = p};
  e.tiles_most = t.count * tiles_of(t.context_max);
  e.blocks_most = std::min(t.rows_total, t.count * tiles_of(t.rows_max));
  int32_t heads = p.heads;
  while (heads > kFewHeads && int64_t{heads} * e.tiles_most > pairs) heads = (heads + 1) / 2;
  e.window_tiles = static_cast<int32_t>(std::clamp<int64_t>(pairs / heads, 1, e.tiles_most));
  const int64_t windows = ceil_div(e.tiles_most, e.window_tiles);
  e.tiles_before = take<int32_t>(ctx, t.count + 1);
  e.blocks_before = take<int32_t>(ctx, t.count + 1);
  e.weights = take<uint8_t>(ctx, p.heads * kWeightImage);
  e.latents = take<uint8_t>(ctx, e.window_tiles * kLatentImage);
  e.ropes = take<uint8_t>(ctx, e.window_tiles * kRopeImage);
  e.heads = take<uint8_t>(ctx, int64_t{e.window_tiles} * heads * kHeadImage);
  if (windows > 1) e.states = take<float>(ctx, int64_t{e.blocks_most} * heads * kStateFloats);
  plan_tiles(ctx, e);
  pack_weights(ctx, e);
  for (e.first_head = 0; e.first_head < p.heads; e.first_head += heads) {
    e.head_count = std::min(heads, p.heads - e.first_head);
    for (e.window = 0; e.window < windows; ++e.window) {
      if (windows > 1 || e.first_head == 0) gather_tiles(ctx, e);
      expand_tiles(ctx, e);
      attend_tiles(ctx, e);
    }
  }
}

}  // namespace flash

void mla_expanded(const OpContext& ctx, const MlaParams& p) {
  if (p.tables.rows_total == 0) return;
  const bool any = p.tables.context_max > 0;  // else all rows are padding
  if (any && flash::takes(ctx, p)) return flash::mla_expanded(ctx, p);
  mla_exact(ctx, p);
}

}  // namespace fathom::cuda
