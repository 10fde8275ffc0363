// Where do a worker's latents live? In one paged pool: a block holds `block_tokens` positions of
// every layer, so that a block is one contiguous piece of memory to hash, send and receive. The
// pool knows bytes only; who owns a block is kv/allocator.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/ids.h"
#include "base/result.h"
#include "contract/drive.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace fathom {

// Bytes between two blocks of a pool.
int64_t block_stride(const KvLayout& layout);

class KvPool {
 public:
  // RESOURCE_EXHAUSTED when the machine does not give the memory. Pages are only taken when first
  // written.
  static Result<KvPool> make(const KvLayout& layout, int32_t blocks);
  // The same in the memory of `device`, which must outlive it.
  static Result<KvPool> make(const KvLayout& layout, int32_t blocks, Device& device);
  KvPool(KvPool&& other) noexcept;
  KvPool& operator=(KvPool&& other) noexcept;
  ~KvPool();

  int32_t blocks() const { return blocks_; }
  const KvLayout& layout() const { return layout_; }
  // One layer of every block, as kernels see it; rank + rope is the layout's width.
  LatentCache layer(int32_t index, int32_t rank, int32_t rope) const;
  // The same for a pool of keys and values: 2 * heads * dim is the layout's width.
  KvCache kv_layer(int32_t index, int32_t heads, int32_t dim) const;
  // layout().block_bytes bytes, of a pool in host memory.
  std::span<std::byte> block(BlockIndex index);
  std::span<const std::byte> block(BlockIndex index) const;
  // The same bytes copied, wherever the pool is. Callable from any thread for a block that no step
  // uses meanwhile.
  Status read(BlockIndex index, std::span<std::byte> out) const;
  Status write(BlockIndex index, std::span<const std::byte> in);

 private:
  KvPool(const KvLayout& layout, int32_t blocks, std::byte* base, int64_t stride, Device* device)
      : layout_(layout), blocks_(blocks), base_(base), stride_(stride), device_(device) {}
  std::byte* at(BlockIndex index) const;

  KvLayout layout_;
  int32_t blocks_ = 0;
  std::byte* base_ = nullptr;
  int64_t stride_ = 0;        // bytes; a multiple of 64
  Device* device_ = nullptr;  // null: mapped in this process
};

// f32 or bf16; fill block_bytes.
KvLayout mla_layout(DType dtype, int32_t layers, int32_t width, int32_t block_tokens);
// Latents of 8 bits, rope keys of bf16 (kernels/ops.h).
inline constexpr const char* kKvInt8 = "int8";
KvLayout int8_mla_layout(int32_t layers, int32_t rank, int32_t rope, int32_t block_tokens);
KvLayout gqa_layout(DType dtype, int32_t layers, int32_t heads, int32_t dim, int32_t block_tokens);

}  // namespace fathom
