#include "kernels/cpu/latent_i8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/convert.h"
#include "kernels/ops.h"

namespace fathom::cpu {
namespace {

// Largest magnitude / 127; not-a-number when any value is infinite or none.
float scale_of(const float* x, int32_t count) {
  float largest = 0, poison = 0;
  for (int32_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    poison += x[i] * 0.0f;
  }
  return largest / 127.0f + poison;
}

int8_t rounded(float v) { return static_cast<int8_t>(std::lrint(std::clamp(v, -127.0f, 127.0f))); }

}  // namespace

void quantise_latent(const float* latent, const float* key, int32_t rank, int32_t rope,
                     uint8_t* out) {
  uint8_t* keys = out + latent_scales(rank) * 4;
  auto* values = reinterpret_cast<int8_t*>(keys + rope * 2);
  for (int32_t i = 0; i < rank; i += kLatentGroup) {
    const int32_t count = std::min(kLatentGroup, rank - i);
    const float scale = scale_of(latent + i, count);
    std::memcpy(out + i / kLatentGroup * 4, &scale, sizeof scale);
    // Of zeros, and of no numbers, any value will do: 0 * scale is the same.
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int32_t j = 0; j < count; ++j)
      values[i + j] = inverse > 0 ? rounded(latent[i + j] * inverse) : int8_t{0};
  }
  for (int32_t i = 0; i < rope; ++i) {
    const uint16_t bits = narrow_bf16(key[i]);
    std::memcpy(keys + i * 2, &bits, sizeof bits);
  }
  // What fills up the token is part of a block's bytes.
  const auto used = static_cast<int64_t>(latent_scales(rank)) * 4 + rope * 2 + rank;
  std::fill(out + used, out + latent_stride(DType::i8, rank, rope), uint8_t{0});
}

void widen_latent(const uint8_t* from, int32_t rank, int32_t rope, float* out) {
  const uint8_t* keys = from + latent_scales(rank) * 4;
  const auto* values = reinterpret_cast<const int8_t*>(keys + rope * 2);
  for (int32_t i = 0; i < rank; i += kLatentGroup) {
    float scale;
    std::memcpy(&scale, from + i / kLatentGroup * 4, sizeof scale);
    const int32_t end = std::min(rank, i + kLatentGroup);
    for (int32_t j = i; j < end; ++j) out[j] = static_cast<float>(values[j]) * scale;
  }
  for (int32_t i = 0; i < rope; ++i) {
    uint16_t bits;
    std::memcpy(&bits, keys + i * 2, sizeof bits);
    out[rank + i] = widen_bf16(bits);
  }
}

}  // namespace fathom::cpu
