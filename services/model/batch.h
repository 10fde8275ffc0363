// What does one forward compute? Rows of many sequences laid out flat, with everything the layers
// need made once: positions, cache slots, which rows attend in which form, which rows want logits.
// The form of attention is a property of the position and of the request's prompt length alone, so
// neither chunks, nor neighbours, nor a recomputation after a move change a result by one bit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "kernels/ops.h"

namespace fathom {

struct BatchRules {
  int32_t block_tokens = 64;
  // Positions of prompts at least this long attend in the expanded form, all others in the absorbed
  // one.
  int32_t expanded_prompt_min = 64;
};

struct BatchSequence {
  std::span<const TokenId> tokens;
  int32_t position = 0;  // of tokens[0]
  int32_t prompt_tokens = 0;
  std::span<const BlockIndex> blocks;
};

// Refers to the callers' block tables; vectors keep their memory from step to step.
class Batch {
 public:
  void clear();
  // Returns the flat index of the sequence's first row.
  int32_t add(const BatchSequence& sequence, const BatchRules& rules);
  void want_logits(int32_t row) { logit_rows_.push_back(row); }
  // The token of `row` is the `draw`th of those that lie on each rank's device when the batch runs
  // (RankParts::drawn); what it was added with holds its place.
  void feed(int32_t row, int32_t draw);

  int32_t rows() const { return static_cast<int32_t>(tokens_.size()); }
  std::span<const TokenId> tokens() const { return tokens_; }
  std::span<const int32_t> positions() const { return positions_; }
  std::span<const int64_t> slots() const { return slots_; }
  std::span<const AttentionSequence> expanded() const { return expanded_; }
  std::span<const AttentionSequence> absorbed() const { return absorbed_; }
  std::span<const int32_t> logit_rows() const { return logit_rows_; }
  // Of each row the draw that feeds it, -1 where the token is known; empty when all are.
  std::span<const int32_t> fed() const { return fed_; }

 private:
  std::vector<TokenId> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> slots_;
  std::vector<AttentionSequence> expanded_, absorbed_;
  std::vector<int32_t> logit_rows_;
  std::vector<int32_t> fed_;
};

}  // namespace fathom
