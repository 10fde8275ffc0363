// Which part of absorbed latent attention runs on tensor cores? The shapes of DeepSeek V2 and V3:
// latent 512, rope 64, nope and value 128, a cache of bf16 or 8 bits in blocks of 16 tokens'
// multiples, any number of heads up to 128. Everything else is mla_absorbed.cu's, which asks here
// first.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda {

// Does what Ops::mla_absorbed does and returns true, or does nothing and returns false when
// compute, shapes, types or alignment are not its own; the number of rows and their contexts play
// no part in that, nor in the bits of a row.
bool mla_absorbed_fast(const OpContext& ctx, const MlaParams& p);

}  // namespace fathom::cuda
