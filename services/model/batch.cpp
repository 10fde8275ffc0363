#include "model/batch.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {

void Batch::clear() {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  expanded_.clear();
  absorbed_.clear();
  logit_rows_.clear();
  fed_.clear();
}

void Batch::feed(int32_t row, int32_t draw) {
  fed_.resize(tokens_.size(), -1);
  fed_[static_cast<size_t>(row)] = draw;
}

int32_t Batch::add(const BatchSequence& s, const BatchRules& rules) {
  const int32_t first = rows();
  const auto count = static_cast<int32_t>(s.tokens.size());
  const auto capacity = static_cast<int64_t>(s.blocks.size()) * rules.block_tokens;
  CHECK(count > 0 && s.position >= 0 && s.position + int64_t{count} <= capacity,
        "the block table does not cover the row");
  tokens_.insert(tokens_.end(), s.tokens.begin(), s.tokens.end());
  if (!fed_.empty()) fed_.resize(tokens_.size(), -1);
  for (int32_t p = s.position; p < s.position + count; ++p) {
    positions_.push_back(p);
    const int64_t block = s.blocks[static_cast<size_t>(p / rules.block_tokens)];
    slots_.push_back(block * rules.block_tokens + p % rules.block_tokens);
  }
  const bool expands = s.prompt_tokens >= rules.expanded_prompt_min;
  const int32_t in_prompt = expands ? std::clamp(s.prompt_tokens - s.position, 0, count) : 0;
  if (in_prompt > 0) expanded_.push_back({first, in_prompt, s.position, s.blocks});
  if (in_prompt < count)
    absorbed_.push_back({first + in_prompt, count - in_prompt, s.position + in_prompt, s.blocks});
  return first;
}

}  // namespace fathom
