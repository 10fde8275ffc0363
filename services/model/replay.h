// Which steps are replayed instead of said anew? On a GPU, those without prompts: rows that decode
// or verify guesses, and the runs of the module that guesses. Their operations depend on the
// (padded) numbers of rows and of logits and a bound on the context alone, so they are recorded
// once for each such shape. A thousand launches of a large model then cost the host one.
#pragma once

#include <optional>

#include "model/batch_tables.h"
#include "model/rank_ops.h"

namespace fathom {

// The shape to pad `batch` to; none when the step must be said anew: on the host, with prompt rows,
// with more rows than `rows_max`, when a test taps values, or when sums, or rows for shared
// experts, go through host memory.
std::optional<Padding> padding_for(const Batch& batch, const RankOps& ops, int32_t rows_max);

// The same for a run of the draft module, whose rows need not all want logits.
std::optional<Padding> draft_padding_for(const Batch& batch, const RankOps& ops, int32_t rows_max);

// The most rows that a batch of up to `rows` rows may be padded to.
int32_t most_padded(int32_t rows);

}  // namespace fathom
