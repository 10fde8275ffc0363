// Who computes how much in the next step? Decode rows first, one token each, then their drafts,
// then prompt chunks in admission order with what is left of the token budget: a long prompt is
// cut, so decode rows never wait for a whole prompt, and drafts, which are only a wager, take at
// most half of what the rows leave where a prompt waits. When there are more decode rows than
// budget they take turns, starting at `turn`. Pure: the same input gives the same shares, which
// never exceed the budget nor rows_max, and there is a share whenever somebody is runnable.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace fathom {

// One sequence as the planner sees it; the order of the span is the order of admission.
struct Runnable {
  int32_t tokens = 0;   // positions to compute before the next token can be drawn; 0: nothing to do
  bool decode = false;  // its prompt is done: tokens is 1
  int32_t drafts = 0;   // guessed tokens a decode row would verify beside
};

struct Share {
  int32_t index = 0;   // into the runnables
  int32_t tokens = 0;  // to compute in this step, > 0; without the drafts
  int32_t drafts = 0;  // to verify beside
  bool operator==(const Share&) const = default;
};

struct PlanLimits {
  int32_t tokens_max = 512;  // of one step, decode rows included
  int32_t prompt_tokens_max = std::numeric_limits<int32_t>::max();  // of them
  int32_t rows_max = 256;
  uint64_t turn = 0;  // counts steps; rotates the decode rows when not all fit
};

namespace plan_detail {

// Appends up to `limit` decode rows; when they do not all fit, starts a little further in each
// step.
inline void add_decode_rows(std::span<const Runnable> sequences, int32_t limit, uint64_t turn,
                            std::vector<Share>& shares) {
  const auto rows = static_cast<int32_t>(
      std::ranges::count_if(sequences, [](const Runnable& r) { return r.decode && r.tokens > 0; }));
  if (rows == 0) return;
  const int32_t taken = std::min(rows, limit);
  const auto first =
      taken == rows
          ? 0
          : static_cast<int32_t>(turn * static_cast<uint64_t>(taken) % static_cast<uint64_t>(rows));
  int32_t ordinal = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(sequences.size()); ++i) {
    const Runnable& r = sequences[static_cast<size_t>(i)];
    if (!r.decode || r.tokens <= 0) continue;
    const int32_t place = (ordinal++ - first + rows) % rows;
    if (place < taken) shares.push_back({.index = i, .tokens = 1});
  }
}

// Lets the decode rows verify their drafts, the first first, within `limit` tokens; returns how
// many they take.
inline int32_t add_drafts(std::span<const Runnable> sequences, int32_t limit,
                          std::vector<Share>& shares) {
  int32_t left = limit;
  for (Share& share : shares) {
    share.drafts = std::min(left, sequences[static_cast<size_t>(share.index)].drafts);
    left -= share.drafts;
  }
  return limit - left;
}

}  // namespace plan_detail

// Writes the shares of the next step into `shares` (cleared first), decode rows before prompt
// chunks.
inline void plan(std::span<const Runnable> sequences, const PlanLimits& limits,
                 std::vector<Share>& shares) {
  shares.clear();
  const int32_t tokens_max = std::max(limits.tokens_max, 1);
  const int32_t rows_max = std::max(limits.rows_max, 1);
  plan_detail::add_decode_rows(sequences, std::min(tokens_max, rows_max), limits.turn, shares);
  int32_t left = tokens_max - static_cast<int32_t>(shares.size());
  const bool prompts =
      std::ranges::any_of(sequences, [](const Runnable& r) { return !r.decode && r.tokens > 0; });
  left -= plan_detail::add_drafts(sequences, prompts ? left / 2 : left, shares);
  left = std::min(left, std::max(limits.prompt_tokens_max, 1));
  for (int32_t i = 0; i < static_cast<int32_t>(sequences.size()); ++i) {
    if (left == 0 || static_cast<int32_t>(shares.size()) == rows_max) return;
    const Runnable& r = sequences[static_cast<size_t>(i)];
    if (r.decode || r.tokens <= 0) continue;
    const int32_t chunk = std::min(left, r.tokens);
    shares.push_back({.index = i, .tokens = chunk});
    left -= chunk;
  }
}

}  // namespace fathom
