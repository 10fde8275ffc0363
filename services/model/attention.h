// What of a layer differs between families? Its attention: which projections feed it, what it keeps
// in the cache, how its heads read that. Everything around it is the same walk (decoder.h), so a
// kind of attention is one class behind this interface.
#pragma once

#include <memory>

#include "model/rank_ops.h"
#include "model/room.h"

namespace fathom {

class Attention {
 public:
  virtual ~Attention() = default;
  // Room for a step of `rows` rows, padding included, that runs `batch`, which outlives it. Throws
  // std::bad_alloc.
  virtual void reserve(const Batch& batch, int32_t rows) = 0;
  // out = this rank's part of the layer's attention over x; both [rows, hidden]. `cache` counts the
  // layers with KV; `batch` is what reserve() was told of, as the device sees it.
  virtual Status run(const LayerWeights& layer, size_t cache, const BatchTables& batch,
                     const RowsView& x, float* out) = 0;
};

// The kind the config names, over the caches of `parts`. `ops` and `room` must outlive it.
std::unique_ptr<Attention> make_attention(const RankOps& ops, Room& room, RankParts parts);

}  // namespace fathom
