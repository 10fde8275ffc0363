// Which grouped-query attention runs on the tensor cores, and how is it cut? Positions are attended
// in spans of kSpan that begin at multiples of it; a span is one running softmax, and spans are
// merged in ascending order. So whether one thread block walks over all spans (prompts) or each has
// its own (few rows, long contexts) does not show in the bits, and a row has the same bits in a
// prompt and alone.
#pragma once

#include "kernels/cuda/gemm/layout.h"
#include "kernels/ops.h"

namespace fathom::cuda::flash {

inline constexpr int kTilePositions = 128;
inline constexpr int kSpanTiles = 4;
inline constexpr int kSpan = kSpanTiles * kTilePositions;

struct Grouped {
  GqaParams p;
  int32_t first_run = 0, run_count = 0;  // of this launch
  int32_t group = 1;                     // query heads of a key-value head
  // Partial results of spans, where spans are apart: of (run, block, key-value head, span), rows of
  // [dim] and of largest score and sum.
  float* sums = nullptr;
  float* states = nullptr;
  int32_t blocks_most = 0, spans_most = 0, rows_kept = 0;

  constexpr FATHOM_BOTH int64_t partial(int run, int block, int head, int span) const {
    return (((int64_t{run} * blocks_most + block) * p.kv_heads + head) * spans_most + span) *
           rows_kept;
  }
};

// Whether these kernels take the shape; a matter of the model, not of the batch.
bool takes(const OpContext&, const GqaParams&);
enum class Spans : uint8_t { automatic, together, apart };  // no bit depends on it
void gqa(const OpContext&, const GqaParams&, Spans = Spans::automatic);

}  // namespace fathom::cuda::flash
