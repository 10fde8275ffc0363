// How does a latent become 8 bits and come back? As ops.h lays it out: int8 in groups with a
// float32 scale each, rounded to nearest even; the rope key as bf16. Plain C++ without fused
// operations, so every machine stores the same bytes. A group that holds no number comes back as
// not-a-number.
#pragma once

#include <cstdint>

namespace fathom::cpu {

void quantise_latent(const float* latent, const float* key, int32_t rank, int32_t rope,
                     uint8_t* out);
// out [rank + rope] as float32.
void widen_latent(const uint8_t* from, int32_t rank, int32_t rope, float* out);

}  // namespace fathom::cpu
