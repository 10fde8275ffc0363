// Is what a GPU does between the compressed projections and attention, in one launch, what norm,
// rope and the cache's layout say apart? To the bit: both run the same sums.
#include "kernels/cpu/latent_i8.h"
#include "on_gpu.h"

namespace fathom {
namespace {

class CudaMlaPrepare : public OnGpu {
 protected:
  static constexpr int32_t kTokens = 4, kBlocks = 40;

  struct Inputs {
    int32_t rank, rope;
    std::vector<float> latent;  // [rows, rank + rope]
    std::vector<int32_t> positions;
    std::vector<int64_t> slots;
    std::vector<float> frequencies;
    naive::Owned weight;
    bool halves;
  };
  static Inputs inputs(int32_t rows, int32_t rank, int32_t rope, bool halves) {
    Inputs in{.rank = rank,
              .rope = rope,
              .latent = naive::random_floats(static_cast<size_t>(rows * (rank + rope)), 5),
              .weight = naive::random_weight(DType::bf16, 1, rank, 4),
              .halves = halves};
    for (int32_t t = 0; t < rows; ++t) {
      in.positions.push_back(t * 1237 % 160000);
      in.slots.push_back(t % 7 == 3 ? -1 : (t * 11) % (kBlocks * kTokens));
    }
    for (int32_t i = 0; i < rope / 2; ++i)
      in.frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / rope)));
    return in;
  }

  LatentWriteParams params(const Inputs& in, const float* x, LatentCache cache) {
    return {.x = x,
            .x_stride = in.rank + in.rope,
            .weight = put(in.weight.view),
            .rows = static_cast<int32_t>(in.slots.size()),
            .positions = put(in.positions),
            .frequencies = put(in.frequencies),
            .magnitude = 1.25f,
            .halves = in.halves,
            .slots = put(in.slots),
            .cache = cache};
  }

  // Every row as it should lie in a cache: normed and turned by the separate operations.
  std::vector<uint8_t> wanted(const Inputs& in, DType dtype, int64_t block_stride) {
    const auto rows = static_cast<int32_t>(in.slots.size());
    const int32_t width = in.rank + in.rope;
    float* x = put(in.latent);
    auto* normed = room<float>(static_cast<size_t>(rows * in.rank));
    ops().rms_norm(context(), {.x = x,
                               .x_stride = width,
                               .weight = put(in.weight.view),
                               .rows = rows,
                               .width = in.rank,
                               .out = normed,
                               .out_stride = in.rank});
    ops().rope(context(), {.x = x + in.rank,
                           .row_stride = width,
                           .rows = rows,
                           .heads = 1,
                           .width = in.rope,
                           .positions = put(in.positions),
                           .frequencies = put(in.frequencies),
                           .magnitude = 1.25f,
                           .halves = in.halves});
    const auto latents = get(normed, static_cast<size_t>(rows * in.rank));
    const auto turned = get(x, in.latent.size());
    std::vector<uint8_t> cache(static_cast<size_t>(kBlocks * block_stride * dtype_bytes(dtype)),
                               0xFF);
    for (int32_t t = 0; t < rows; ++t) {
      const int64_t slot = in.slots[static_cast<size_t>(t)];
      if (slot < 0) continue;
      const int64_t stride = latent_stride(dtype, in.rank, in.rope);
      auto* to = cache.data() +
                 (slot / kTokens * block_stride + slot % kTokens * stride) * dtype_bytes(dtype);
      const float* latent = &latents[static_cast<size_t>(t * in.rank)];
      const float* key = &turned[static_cast<size_t>(t * width + in.rank)];
      if (dtype == DType::i8) {
        cpu::quantise_latent(latent, key, in.rank, in.rope, to);
        continue;
      }
      std::vector<float> token(latent, latent + in.rank);
      token.insert(token.end(), key, key + in.rope);
      if (dtype == DType::f32) {
        std::memcpy(to, token.data(), token.size() * 4);
      } else {
        const auto bits = as_bf16(token);
        std::memcpy(to, bits.data(), bits.size() * 2);
      }
    }
    return cache;
  }
};

TEST_F(CudaMlaPrepare, latents_are_stored_as_the_separate_operations_make_them) {
  for (const bool halves : {false, true})
    for (const auto& [rank, rope] : {std::pair{512, 64}, std::pair{100, 6}, std::pair{20, 10}})
      for (const DType dtype : {DType::bf16, DType::f32, DType::i8}) {
        const Inputs in = inputs(67, rank, rope, halves);
        const int64_t stride = kTokens * latent_stride(dtype, rank, rope) + (rank % 3) * 4;
        const auto bytes = static_cast<size_t>(kBlocks * stride * dtype_bytes(dtype));
        auto* base = room<uint8_t>(bytes);
        float* x = put(in.latent);
        ops().mla_prepare(context(),
                          {.latent = params(in, x, {base, dtype, stride, kTokens, rank, rope})});
        const auto got = get(base, bytes), want = wanted(in, dtype, stride);
        for (size_t i = 0; i < bytes; ++i)
          ASSERT_EQ(got[i], want[i])
              << "rank " << rank << " type " << static_cast<int>(dtype) << " byte " << i;
        ASSERT_EQ(get(x, in.latent.size()), in.latent) << "the projection stays as it is";
      }
}

TEST_F(CudaMlaPrepare, queries_are_normed_beside_as_alone) {
  for (const int32_t width : {1536, 64, 2000, 7})
    for (const bool latents : {true, false}) {
      const int32_t rows = 9;
      const Inputs in = inputs(rows, 512, 64, false);
      const auto x = naive::random_floats(static_cast<size_t>(rows * width), 3);
      const auto w = naive::random_weight(DType::bf16, 1, width, 4);
      const auto n = static_cast<size_t>(rows * width);
      auto* beside = room<uint16_t>(n);
      auto* alone = room<uint16_t>(n);
      RmsNormParams q{.x = put(x),
                      .x_stride = width,
                      .weight = put(w.view),
                      .rows = rows,
                      .width = width,
                      .out = alone,
                      .out_dtype = DType::bf16,
                      .out_stride = width};
      ops().rms_norm(context(), q);
      q.out = beside;
      MlaPrepareParams p{.q = q};
      const int64_t stride = kTokens * 576;
      auto* base = room<uint16_t>(static_cast<size_t>(kBlocks * stride));
      if (latents)
        p.latent = params(in, put(in.latent), {base, DType::bf16, stride, kTokens, 512, 64});
      ops().mla_prepare(context(), p);
      ASSERT_EQ(get(beside, n), get(alone, n)) << width;
      const auto stored =
          get(reinterpret_cast<const uint8_t*>(base), static_cast<size_t>(kBlocks * stride * 2));
      if (latents) {
        ASSERT_EQ(stored, wanted(in, DType::bf16, stride));
      }
    }
}

}  // namespace
}  // namespace fathom
