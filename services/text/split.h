// Into which pieces is text cut before the merges? A stage cuts one piece into smaller ones; a
// tokenizer is a sequence of stages, each applied to the pieces of the one before. Pieces come in
// order and never overlap; both the matches of a pattern and the gaps between them become pieces,
// unless the stage removes one kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom {

struct Piece {
  size_t begin = 0, end = 0;
  bool operator==(const Piece&) const = default;
};

class SplitStage {
 public:
  virtual ~SplitStage() = default;
  // Cuts text[piece.begin, piece.end), which is valid UTF-8, as if nothing were around it.
  virtual void split(std::string_view text, Piece piece, std::vector<Piece>& out) const = 0;
};

// What a Split pre-tokenizer does: `isolated` keeps matches and gaps, `removed` drops the matches.
// `invert` swaps what counts as a match.
enum class SplitBehavior : uint8_t { isolated, removed };

struct SplitRule {
  std::string pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};

// A hand-written matcher for the patterns of DeepSeek, Llama 3, Qwen2 and GPT-2 (the exact pattern
// text); null for any other pattern. Equal to the regular expression on every input; encoding is a
// quarter faster with it than with PCRE2, and no input can run into a match limit.
std::unique_ptr<SplitStage> known_split(std::string_view pattern);

// The general path: PCRE2 with JIT. UNIMPLEMENTED for constructs that mean something else in
// Oniguruma, the engine the pattern was written for, and for patterns that match the empty string.
Result<std::unique_ptr<SplitStage>> regex_split(const SplitRule& rule);

// The Digits pre-tokenizer.
std::unique_ptr<SplitStage> digits_split(bool individual);

// ByteLevel with use_regex: GPT-2's pattern.
inline constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace fathom
