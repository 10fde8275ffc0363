// Do latents, keys and values land in their slots of a paged cache on a GPU, rounded once where it
// is bf16, and does everything else in it stay as it was? Whole pools are compared bit by bit: gaps
// between blocks, slots nobody named, and heads of other ranks included.
#include <cstring>
#include <numeric>
#include <random>

#include "on_gpu.h"

namespace fathom {
namespace {

// Values whose rounding to bf16 is worth a look come first: ties to even both ways, a carry into
// the exponent, the largest ones, infinities, subnormals, both zeros.
constexpr float kSpecial[] = {1.00390625f,    1.01171875f, 1.998046875f, 3.4028235e38f,
                              -3.3895314e38f, INFINITY,    -INFINITY,    1e-40f,
                              -9.2e-41f,      0.0f,        -0.0f,        1.0000001f};

std::vector<float> values_of(size_t n, uint32_t seed) {
  auto v = naive::random_floats(n, seed);
  for (size_t i = 0; i < std::size(kSpecial) && i * 3 < n; ++i) v[i * 3] = kSpecial[i];
  return v;
}

// A pool of `tokens` slots in blocks with a gap behind each, as the device has it and as it should
// be. Nobody's values are the bits 0xFF..., which is not a number.
struct Pool {
  DType dtype;
  int32_t block_tokens, width;
  int64_t block_stride;
  std::vector<uint8_t> bytes;

  Pool(DType type, int32_t tokens_per_block, int32_t token_width, int32_t gap, int32_t blocks)
      : dtype(type),
        block_tokens(tokens_per_block),
        width(token_width),
        block_stride(int64_t{tokens_per_block} * token_width + gap),
        bytes(static_cast<size_t>(blocks * block_stride * dtype_bytes(type)), 0xFF) {}

  void set(int64_t slot, int32_t i, float v) {
    const int64_t at = slot / block_tokens * block_stride + slot % block_tokens * width + i;
    const float rounded = dtype == DType::bf16 ? naive::rounded_bf16(v) : v;
    uint32_t bits;
    std::memcpy(&bits, &rounded, 4);
    if (dtype == DType::bf16) bits >>= 16;
    std::memcpy(&bytes[static_cast<size_t>(at * dtype_bytes(dtype))], &bits,
                static_cast<size_t>(dtype_bytes(dtype)));
  }
};

// Distinct slots in no order; about one row in four stores nothing.
std::vector<int64_t> slots_of(int32_t rows, int32_t all, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<int64_t> slots(static_cast<size_t>(all));
  std::iota(slots.begin(), slots.end(), 0);
  std::shuffle(slots.begin(), slots.end(), generator);
  slots.resize(static_cast<size_t>(rows));
  for (int64_t& slot : slots)
    if (generator() % 4 == 0) slot = generator() % 2 == 0 ? -1 : -1'000'000'007;
  return slots;
}

class CachesOnGpu : public OnGpu {
 protected:
  static constexpr DType kTypes[] = {DType::f32, DType::bf16};

  void expect_same(const Pool& want, const uint8_t* there, const std::string& what) {
    const auto got = get(there, want.bytes.size());
    for (size_t i = 0; i < got.size(); ++i)
      if (got[i] != want.bytes[i]) {
        const auto element = static_cast<int64_t>(i) / dtype_bytes(want.dtype);
        ADD_FAILURE() << what << ' ' << naive::name_of(want.dtype) << ": block "
                      << element / want.block_stride << " element " << element % want.block_stride
                      << " of tokens of " << want.width << " has byte " << int{got[i]}
                      << ", should be " << int{want.bytes[i]};
        return;
      }
  }
};

TEST_F(CachesOnGpu, latents_land_in_their_slots_and_nowhere_else) {
  struct Shape {
    int32_t rank, rope, block_tokens, gap, pad;  // pad: between rows of the sources
  };
  for (const Shape s : {Shape{512, 64, 64, 0, 0}, Shape{512, 64, 64, 40, 7}, Shape{33, 6, 5, 3, 1},
                        Shape{16, 8, 1, 0, 4}, Shape{1, 2, 16, 1, 0}, Shape{320, 16, 48, 8, 64}})
    for (const DType dtype : kTypes)
      for (const int32_t rows : {1, 2, 3, 63, 130}) {
        const int32_t width = s.rank + s.rope, blocks = 2 * rows / s.block_tokens + 2;
        Pool pool(dtype, s.block_tokens, width, s.gap, blocks);
        auto* there = put(pool.bytes);
        const int32_t latent_stride = s.rank + s.pad, rope_stride = s.rope + 3 * s.pad;
        const auto latent = values_of(static_cast<size_t>(rows * latent_stride), 3);
        const auto keys = values_of(static_cast<size_t>(rows * rope_stride), 4);
        const auto slots = slots_of(rows, blocks * s.block_tokens, 5);
        ops().cache_write(context(), {.latent = put(latent),
                                      .latent_stride = latent_stride,
                                      .rope_key = put(keys),
                                      .rope_stride = rope_stride,
                                      .rows = rows,
                                      .slots = put(slots),
                                      .cache = {there, dtype, pool.block_stride, s.block_tokens,
                                                s.rank, s.rope}});
        for (int32_t t = 0; t < rows; ++t) {
          if (slots[static_cast<size_t>(t)] < 0) continue;
          for (int32_t i = 0; i < width; ++i)
            pool.set(slots[static_cast<size_t>(t)], i,
                     i < s.rank ? latent[static_cast<size_t>(t * latent_stride + i)]
                                : keys[static_cast<size_t>(t * rope_stride + i - s.rank)]);
        }
        expect_same(pool, there,
                    "rank " + std::to_string(s.rank) + " rows " + std::to_string(rows));
        if (HasFailure()) return;
      }
}

// Byte for byte what the CPU stores: no pool may tell who wrote it.
TEST_F(CachesOnGpu, latents_of_8_bits_are_the_cpus) {
  const naive::Machine cpu("portable");
  struct Shape {
    int32_t rank, rope, block_tokens, gap, pad;
  };
  for (const Shape s : {Shape{512, 64, 64, 0, 0}, Shape{33, 6, 5, 4, 1}, Shape{1, 2, 16, 8, 0},
                        Shape{1100, 10, 3, 0, 2}, Shape{64, 8, 1, 0, 4}})
    for (const int32_t rows : {1, 3, 130}) {
      const auto token = static_cast<int32_t>(latent_stride(DType::i8, s.rank, s.rope));
      const int32_t blocks = 2 * rows / s.block_tokens + 2;
      Pool pool(DType::i8, s.block_tokens, token, s.gap, blocks);
      auto* there = put(pool.bytes);
      const int32_t latent_stride = s.rank + s.pad, rope_stride = s.rope + 3 * s.pad;
      auto latent = values_of(static_cast<size_t>(rows * latent_stride), 3);
      for (float& v : latent)  // there is more than one not-a-number
        if (std::isinf(v)) v = -2.5f;
      // A group of zeros, one of next to nothing, and ties to even both ways.
      std::fill_n(latent.end() - latent_stride, std::min(64, s.rank), 0.0f);
      if (s.rank >= 64 && rows > 1) {
        for (int32_t i = 0; i < 64; ++i)
          latent[static_cast<size_t>(latent_stride + i)] = i * 1e-44f;
        for (int32_t i = 0; i < 64; ++i)
          latent[static_cast<size_t>(2 * latent_stride + i)] = i == 0 ? 127.0f : i - 30.5f;
      }
      const auto keys = values_of(static_cast<size_t>(rows * rope_stride), 4);
      const auto slots = slots_of(rows, blocks * s.block_tokens, 5);
      CacheWriteParams p{.latent = latent.data(),
                         .latent_stride = latent_stride,
                         .rope_key = keys.data(),
                         .rope_stride = rope_stride,
                         .rows = rows,
                         .slots = slots.data(),
                         .cache = {pool.bytes.data(), DType::i8, pool.block_stride, s.block_tokens,
                                   s.rank, s.rope}};
      cpu.ops.cache_write(cpu.ctx, p);
      p.latent = put(latent);
      p.rope_key = put(keys);
      p.slots = put(slots);
      p.cache.base = there;
      ops().cache_write(context(), p);
      expect_same(pool, there, "rank " + std::to_string(s.rank) + " rows " + std::to_string(rows));
      if (HasFailure()) return;
    }
}

TEST_F(CachesOnGpu, keys_and_values_of_a_rank_land_in_its_heads_and_nowhere_else) {
  struct Shape {
    int32_t all, dim, first, heads, block_tokens, gap, pad;
  };
  for (const Shape s :
       {Shape{8, 128, 0, 8, 64, 0, 0}, Shape{8, 128, 6, 2, 64, 16, 0}, Shape{3, 10, 1, 1, 5, 1, 3},
        Shape{1, 1, 0, 1, 1, 0, 1}, Shape{4, 256, 2, 1, 16, 0, 256}, Shape{5, 33, 0, 4, 7, 9, 2}})
    for (const DType dtype : kTypes)
      for (const int32_t rows : {1, 2, 65, 129}) {
        const int32_t half = s.all * s.dim, mine = s.heads * s.dim;
        const int32_t blocks = 2 * rows / s.block_tokens + 2;
        Pool pool(dtype, s.block_tokens, 2 * half, s.gap, blocks);
        auto* there = put(pool.bytes);
        const int32_t k_stride = mine + s.pad, v_stride = mine + 2 * s.pad;
        const auto k = values_of(static_cast<size_t>(rows * k_stride), 6);
        const auto v = values_of(static_cast<size_t>(rows * v_stride), 7);
        const auto slots = slots_of(rows, blocks * s.block_tokens, 8);
        ops().kv_write(context(),
                       {.k = put(k),
                        .k_stride = k_stride,
                        .v = put(v),
                        .v_stride = v_stride,
                        .rows = rows,
                        .first_head = s.first,
                        .heads = s.heads,
                        .slots = put(slots),
                        .cache = {there, dtype, pool.block_stride, s.block_tokens, s.all, s.dim}});
        for (int32_t t = 0; t < rows; ++t) {
          const int64_t slot = slots[static_cast<size_t>(t)];
          if (slot < 0) continue;
          for (int32_t i = 0; i < mine; ++i) {
            pool.set(slot, s.first * s.dim + i, k[static_cast<size_t>(t * k_stride + i)]);
            pool.set(slot, half + s.first * s.dim + i, v[static_cast<size_t>(t * v_stride + i)]);
          }
        }
        expect_same(pool, there,
                    "heads " + std::to_string(s.all) + " rows " + std::to_string(rows));
        if (HasFailure()) return;
      }
}

TEST_F(CachesOnGpu, not_a_number_stays_one_and_no_rows_write_nothing) {
  for (const DType dtype : kTypes) {
    Pool pool(dtype, 4, 6, 0, 2);
    std::fill(pool.bytes.begin(), pool.bytes.end(), uint8_t{0});
    auto* there = put(pool.bytes);
    const std::vector<float> latent(4, NAN), key = {1.0f, NAN};
    const LatentCache cache{there, dtype, pool.block_stride, 4, 4, 2};
    const int64_t* slots = put(std::vector<int64_t>{7});
    ops().cache_write(context(), {.rows = 0, .slots = slots, .cache = cache});
    expect_same(pool, there, "no rows");
    ops().cache_write(context(), {.latent = put(latent),
                                  .latent_stride = 4,
                                  .rope_key = put(key),
                                  .rope_stride = 2,
                                  .rows = 1,
                                  .slots = slots,
                                  .cache = cache});
    const auto got =
        dtype == DType::bf16 ? get_bf16(there, 48) : get(reinterpret_cast<const float*>(there), 48);
    for (size_t i = 0; i < 48; ++i)
      EXPECT_EQ(std::isnan(got[i]), i >= 42 && i != 46) << naive::name_of(dtype) << ' ' << i;
    EXPECT_EQ(got[46], 1.0f);
  }
}

}  // namespace
}  // namespace fathom
