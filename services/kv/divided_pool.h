// How does one process hold its KV when its ranks can not read each other's memory? In one pool a
// device. Latents stand complete in each: every rank needs them all. Of grouped heads a pool holds
// the key-value heads that its ranks compute and read, no others, so more devices hold more blocks.
// What comes in and goes out is whole blocks all the same: they are cut here and put together
// again.
#pragma once

#include <span>
#include <vector>

#include "kernels/kv_heads.h"
#include "kv/pool.h"

namespace fathom {

// A rank keeps its KV in pool `pool`, where it writes every head that it reads.
struct RankKv {
  int32_t pool = 0;
  KvHeads heads;
};

// Who holds which heads. Pools are counted from 0 on.
struct KvDivision {
  struct Source {
    int32_t pool = 0;
    KvHeads heads;
    bool operator==(const Source&) const = default;
  };
  std::vector<KvHeads> held;    // of each pool; between the runs of its ranks there may be gaps
  std::vector<Source> sources;  // what a block is made of: every head once, in ascending order
};
// CHECKs that the ranks together write all `heads`.
KvDivision divide_kv(std::span<const RankKv> ranks, int32_t heads);

class DividedPool {
 public:
  // `layout` is that of whole blocks. Latents count as one head, which every pool holds.
  DividedPool(KvLayout layout, int32_t heads, KvDivision division);

  // Bytes that one more block takes in pool `pool`.
  int64_t stride(int32_t pool) const { return block_stride(layouts_[size_t(pool)]); }
  int32_t pools() const { return static_cast<int32_t>(layouts_.size()); }
  // Gives pool i its memory on *devices[i], which outlive it. RESOURCE_EXHAUSTED naming kv_blocks.
  Status start(int32_t blocks, std::span<Device* const> devices);

  // After start.
  int32_t blocks() const { return pools_.front().blocks(); }
  const KvPool& pool(int32_t index) const { return pools_[static_cast<size_t>(index)]; }
  KvHeads held(int32_t pool) const { return division_.held[static_cast<size_t>(pool)]; }
  // Copies of whole blocks, layout.block_bytes long; a write reaches every pool. From any thread,
  // for a block that no step uses meanwhile.
  Status read(BlockIndex block, std::span<std::byte> out) const;
  Status write(BlockIndex block, std::span<const std::byte> in);

 private:
  bool whole(int32_t pool) const { return held(pool).count == heads_; }
  // A block is so many rows of heads: one of keys and one of values for each layer and token.
  struct Rows {
    size_t count, head_bytes;
  };
  Rows rows() const;

  KvLayout layout_;
  int32_t heads_;
  KvDivision division_;
  std::vector<KvLayout> layouts_;  // of each pool
  std::vector<KvPool> pools_;
};

}  // namespace fathom
