#include "model/replay.h"

#include <algorithm>
#include <bit>

namespace fathom {
namespace {

// Up to 16 rows by powers of two, then steps of half a power: at most a third of the rows is
// padding.
constexpr int32_t kRows[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
constexpr int32_t kContextMin = 2048;

bool every_row_wants_logits(const Batch& batch) {
  if (static_cast<int32_t>(batch.logit_rows().size()) != batch.rows()) return false;
  for (int32_t r = 0; r < batch.rows(); ++r)
    if (batch.logit_rows()[static_cast<size_t>(r)] != r) return false;
  return true;
}

// `count` padded; 0 stays 0. None beyond the last size.
std::optional<int32_t> padded(int32_t count) {
  if (count == 0) return 0;
  const auto* size = std::ranges::find_if(kRows, [&](int32_t n) { return n >= count; });
  if (size == std::end(kRows)) return std::nullopt;
  return *size;
}

}  // namespace

int32_t most_padded(int32_t rows) { return *padded(std::min(rows, *std::rbegin(kRows))); }

std::optional<Padding> padding_for(const Batch& batch, const RankOps& ops, int32_t rows_max) {
  return every_row_wants_logits(batch) ? draft_padding_for(batch, ops, rows_max) : std::nullopt;
}

std::optional<Padding> draft_padding_for(const Batch& batch, const RankOps& ops, int32_t rows_max) {
  if (ops.device().is_host() || ops.has_tap() || !ops.sums_on_device() || !ops.experts_on_device())
    return std::nullopt;
  if (!batch.expanded().empty()) return std::nullopt;
  const auto rows = padded(batch.rows());
  const auto logits = padded(static_cast<int32_t>(batch.logit_rows().size()));
  if (!rows || !logits || *rows > rows_max) return std::nullopt;
  int32_t context = kContextMin;
  for (const int32_t position : batch.positions()) context = std::max(context, position + 1);
  return Padding{*rows, static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(context))),
                 *logits};
}

}  // namespace fathom
