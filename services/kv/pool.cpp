#include "kv/pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>

namespace fathom {
namespace {

DType dtype_of(const KvLayout& layout) {
  if (layout.dtype == kKvInt8) return DType::i8;
  return layout.dtype == "bf16" ? DType::bf16 : DType::f32;
}

KvLayout layout_of(const char* kind, DType dtype, int32_t layers, int32_t width,
                   int32_t block_tokens) {
  CHECK(dtype == DType::f32 || dtype == DType::bf16);
  return {.kind = kind,
          .dtype = dtype == DType::f32 ? "f32" : "bf16",
          .layers = layers,
          .width = width,
          .block_tokens = block_tokens,
          .block_bytes = int64_t{layers} * block_tokens * width * dtype_bytes(dtype)};
}

}  // namespace

KvLayout mla_layout(DType dtype, int32_t layers, int32_t width, int32_t block_tokens) {
  return layout_of("mla", dtype, layers, width, block_tokens);
}

KvLayout int8_mla_layout(int32_t layers, int32_t rank, int32_t rope, int32_t block_tokens) {
  return {.kind = "mla",
          .dtype = kKvInt8,
          .layers = layers,
          .width = rank + rope,
          .block_tokens = block_tokens,
          .block_bytes = layers * block_tokens * latent_stride(DType::i8, rank, rope)};
}

KvLayout gqa_layout(DType dtype, int32_t layers, int32_t heads, int32_t dim, int32_t block_tokens) {
  return layout_of("gqa", dtype, layers, 2 * heads * dim, block_tokens);
}

int64_t block_stride(const KvLayout& layout) { return (layout.block_bytes + 63) / 64 * 64; }

Result<KvPool> KvPool::make(const KvLayout& layout, int32_t blocks, Device& device) {
  if (device.is_host()) return make(layout, blocks);
  CHECK(blocks > 0 && layout.block_bytes > 0);
  const int64_t stride = block_stride(layout);
  const auto bytes = static_cast<size_t>(stride) * static_cast<size_t>(blocks);
  void* base = device.allocate(bytes);
  if (base == nullptr)
    return Error{Code::resource_exhausted,
                 std::to_string(blocks) + " KV blocks of " + std::to_string(stride) +
                     " bytes do not fit into the " + std::to_string(device.free_bytes()) +
                     " bytes left on the device",
                 "kv_blocks"};
  // What a block holds beyond its sequence is multiplied by 0, so it must be numbers.
  device.fill_zero(base, bytes);
  return KvPool(layout, blocks, static_cast<std::byte*>(base), stride, &device);
}

Result<KvPool> KvPool::make(const KvLayout& layout, int32_t blocks) {
  CHECK(blocks > 0 && layout.block_bytes > 0);
  const int64_t stride = block_stride(layout);
  // The kernel would promise more than there is and kill us when we write it.
  const int64_t machine = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  const Error refused{Code::resource_exhausted,
                      std::to_string(blocks) + " KV blocks of " + std::to_string(stride) +
                          " bytes do not fit into the memory of this machine, " +
                          std::to_string(machine) + " bytes",
                      "kv_blocks"};
  if (stride > machine / blocks) return refused;
  const auto bytes = static_cast<size_t>(stride) * static_cast<size_t>(blocks);
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return refused;
  return KvPool(layout, blocks, static_cast<std::byte*>(base), stride, nullptr);
}

KvPool::KvPool(KvPool&& other) noexcept
    : layout_(std::move(other.layout_)),
      blocks_(std::exchange(other.blocks_, 0)),
      base_(std::exchange(other.base_, nullptr)),
      stride_(other.stride_),
      device_(other.device_) {}

KvPool& KvPool::operator=(KvPool&& other) noexcept {
  std::swap(layout_, other.layout_);
  std::swap(blocks_, other.blocks_);
  std::swap(base_, other.base_);
  std::swap(stride_, other.stride_);
  std::swap(device_, other.device_);
  return *this;
}

KvPool::~KvPool() {
  if (base_ == nullptr) return;
  if (device_ != nullptr)
    device_->release(base_);
  else
    ::munmap(base_, static_cast<size_t>(stride_) * static_cast<size_t>(blocks_));
}

LatentCache KvPool::layer(int32_t index, int32_t rank, int32_t rope) const {
  CHECK(index >= 0 && index < layout_.layers && rank + rope == layout_.width);
  const DType dtype = dtype_of(layout_);
  const int64_t layer_bytes = layout_.block_bytes / layout_.layers;
  return {.base = base_ + index * layer_bytes,
          .dtype = dtype,
          .block_stride = stride_ / dtype_bytes(dtype),
          .block_tokens = layout_.block_tokens,
          .rank = rank,
          .rope = rope};
}

KvCache KvPool::kv_layer(int32_t index, int32_t heads, int32_t dim) const {
  const LatentCache whole = layer(index, heads * dim, heads * dim);
  return {.base = whole.base,
          .dtype = whole.dtype,
          .block_stride = whole.block_stride,
          .block_tokens = whole.block_tokens,
          .heads = heads,
          .dim = dim};
}

std::byte* KvPool::at(BlockIndex index) const {
  CHECK(index >= 0 && index < blocks_,
        "block " + std::to_string(index) + " of " + std::to_string(blocks_));
  return base_ + index * stride_;
}

std::span<std::byte> KvPool::block(BlockIndex index) {
  CHECK(device_ == nullptr);
  return {at(index), static_cast<size_t>(layout_.block_bytes)};
}

std::span<const std::byte> KvPool::block(BlockIndex index) const {
  CHECK(device_ == nullptr);
  return {at(index), static_cast<size_t>(layout_.block_bytes)};
}

Status KvPool::read(BlockIndex index, std::span<std::byte> out) const {
  CHECK(out.size() == static_cast<size_t>(layout_.block_bytes));
  if (device_ != nullptr) return device_->read(out.data(), at(index), out.size());
  std::memcpy(out.data(), at(index), out.size());
  return {};
}

Status KvPool::write(BlockIndex index, std::span<const std::byte> in) {
  CHECK(in.size() == static_cast<size_t>(layout_.block_bytes));
  if (device_ != nullptr) return device_->write(at(index), in.data(), in.size());
  std::memcpy(at(index), in.data(), in.size());
  return {};
}

}  // namespace fathom
