#include "model/batch_tables.h"

#include <cstring>

#include "base/check.h"

namespace fathom {
namespace {

constexpr size_t kAlign = 64;

// Bounds of `runs`, and the run of each of their rows, counted from the first of them.
AttentionTables bounds_of(std::span<const AttentionRun> runs, std::vector<int32_t>& row_runs) {
  AttentionTables t{.count = static_cast<int32_t>(runs.size())};
  row_runs.clear();
  for (size_t i = 0; i < runs.size(); ++i) {
    t.rows_total += runs[i].rows;
    t.rows_max = std::max(t.rows_max, runs[i].rows);
    t.context_max = std::max(t.context_max, runs[i].position + runs[i].rows);
    row_runs.insert(row_runs.end(), static_cast<size_t>(runs[i].rows), static_cast<int32_t>(i));
  }
  return t;
}

}  // namespace

template <class T>
size_t BatchTables::stage(std::span<const T> values) {
  const size_t begin = (staged_.size() + kAlign - 1) / kAlign * kAlign;
  staged_.resize(begin + values.size_bytes());
  if (!values.empty()) std::memcpy(staged_.data() + begin, values.data(), values.size_bytes());
  return begin;
}

void BatchTables::add_runs(std::span<const AttentionSequence> sequences, bool split) {
  for (const AttentionSequence& s : sequences) {
    const auto first_block = static_cast<int32_t>(blocks_.size());
    blocks_.insert(blocks_.end(), s.blocks.begin(), s.blocks.end());
    if (!split) {
      runs_.push_back({s.first_row, s.rows, s.position, first_block});
      continue;
    }
    for (int32_t r = 0; r < s.rows; ++r)
      runs_.push_back({s.first_row + r, 1, s.position + r, first_block});
  }
}

void BatchTables::lay_out(const Batch& batch, std::span<const int32_t> from) {
  rows_ = batch.rows();
  if (device_.is_host()) {
    tokens_ = batch.tokens().data();
    positions_ = batch.positions().data();
    slots_ = batch.slots().data();
    logit_rows_ = batch.logit_rows().data();
    from_ = from.data();
    feeding_ = {};
    if (batch.fed().empty()) return;
    step_tokens_.assign(batch.tokens().begin(), batch.tokens().end());
    tokens_ = step_tokens_.data();
    feeding_ = {.from = batch.fed().data(), .rows = rows_, .tokens = step_tokens_.data()};
    return;
  }
  step_tokens_.assign(batch.tokens().begin(), batch.tokens().end());
  step_positions_.assign(batch.positions().begin(), batch.positions().end());
  step_slots_.assign(batch.slots().begin(), batch.slots().end());
  step_logit_rows_.assign(batch.logit_rows().begin(), batch.logit_rows().end());
  step_from_.assign(from.begin(), from.end());
  step_fed_.assign(batch.fed().begin(), batch.fed().end());
  feeding_ = {};
  runs_.clear();
  blocks_.clear();
  add_runs(batch.expanded(), false);
  expanded_runs_ = runs_.size();
  add_runs(batch.absorbed(), false);
  send();
}

void BatchTables::lay_out_padded(const Batch& batch, const Padding& padding,
                                 std::span<const int32_t> from) {
  CHECK(!device_.is_host() && batch.expanded().empty() && padding.rows >= batch.rows());
  const auto rows = static_cast<size_t>(padding.rows);
  rows_ = padding.rows;
  step_tokens_.assign(batch.tokens().begin(), batch.tokens().end());
  step_tokens_.resize(rows, 0);
  step_positions_.assign(batch.positions().begin(), batch.positions().end());
  step_positions_.resize(rows, 0);
  step_slots_.assign(batch.slots().begin(), batch.slots().end());
  step_slots_.resize(rows, -1);
  step_logit_rows_.assign(batch.logit_rows().begin(), batch.logit_rows().end());
  step_logit_rows_.resize(static_cast<size_t>(padding.logits), 0);
  step_from_.assign(from.begin(), from.end());
  if (!from.empty()) step_from_.resize(rows, 0);
  step_fed_.assign(batch.fed().begin(), batch.fed().end());
  feeding_ = {};
  runs_.clear();
  blocks_.clear();
  expanded_runs_ = 0;
  add_runs(batch.absorbed(), true);
  for (int32_t r = batch.rows(); r < padding.rows; ++r) runs_.push_back({r, 1, -1, 0});
  if (blocks_.empty()) blocks_.push_back(0);
  send();
  CHECK(absorbed_.context_max <= padding.context);
  absorbed_.context_max = all_.context_max = padding.context;
}

// Everything in one copy. What a padded batch has of each but blocks and what is fed depends on its
// shape alone and comes first, so that its places do too.
void BatchTables::send() {
  const std::span<const AttentionRun> runs(runs_);
  std::vector<int32_t> all_rows, absorbed_rows, expanded_rows;
  all_ = bounds_of(runs, all_rows);
  expanded_ = bounds_of(runs.first(expanded_runs_), expanded_rows);
  absorbed_ = bounds_of(runs.subspan(expanded_runs_), absorbed_rows);
  staged_.clear();
  const size_t tokens = stage(std::span<const TokenId>(step_tokens_));
  const size_t positions = stage(std::span<const int32_t>(step_positions_));
  const size_t slots = stage(std::span<const int64_t>(step_slots_));
  const size_t logit_rows = stage(std::span<const int32_t>(step_logit_rows_));
  const size_t from = stage(std::span<const int32_t>(step_from_));
  const size_t run_at = stage(runs);
  const size_t all_at = stage(std::span<const int32_t>(all_rows));
  const size_t absorbed_at = stage(std::span<const int32_t>(absorbed_rows));
  const size_t blocks = stage(std::span<const BlockIndex>(blocks_));
  const size_t fed = stage(std::span<const int32_t>(step_fed_));
  // Twice the room at once: a growing block table must not move what is recorded at every step.
  if (staged_.size() > static_cast<size_t>(capacity_)) {
    capacity_ = static_cast<int64_t>(2 * staged_.size());
    memory_.at_least(capacity_);
  }
  device_.upload(memory_.data(), staged_.data(), staged_.size());
  const auto at = [&]<class T>(size_t offset, const T*& pointer) {
    pointer = reinterpret_cast<const T*>(memory_.data() + offset);
  };
  at(tokens, tokens_);
  at(positions, positions_);
  at(slots, slots_);
  at(logit_rows, logit_rows_);
  at(from, from_);
  feeding_.rows = static_cast<int32_t>(step_fed_.size());
  at(fed, feeding_.from);
  feeding_.tokens = reinterpret_cast<TokenId*>(memory_.data() + tokens);
  at(run_at, all_.runs);
  at(all_at, all_.row_runs);
  at(blocks, all_.blocks);
  expanded_.runs = all_.runs;
  expanded_.row_runs = all_.row_runs;
  expanded_.blocks = absorbed_.blocks = all_.blocks;
  absorbed_.runs = all_.runs + expanded_runs_;
  at(absorbed_at, absorbed_.row_runs);
}

}  // namespace fathom
