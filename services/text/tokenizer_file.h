// What does tokenizer.json say? The file as plain data, already checked: a key or a value this
// library does not implement is an error that names it, so a tokenizer that loads is understood
// completely.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/split.h"

namespace fathom {

struct NormalizerRule {
  enum class Kind : uint8_t { nfc, prepend, replace };
  Kind kind = Kind::nfc;
  std::string from, to;  // prepend has no `from`
};

struct PreTokenizerRule {
  enum class Kind : uint8_t { split, digits, byte_level };
  Kind kind = Kind::split;
  SplitRule split;                 // kind split
  bool individual_digits = false;  // kind digits
  bool add_prefix_space = false;   // kind byte_level, always the last rule
  bool use_regex = false;
};

// SentencePiece's way with spaces: they become a visible character, and texts begin with one.
struct Metaspace {
  enum class Prepend : uint8_t { never, first, always };
  std::string replacement;  // empty: no such stage
  Prepend prepend = Prepend::always;
  bool split = true;  // a piece begins at each
};

struct TokenizerFile {
  struct Entry {
    std::string bytes;  // what the token decodes to; empty for a hole
    bool exists = false;
    bool plain = false;  // a string of the byte alphabet, so text can become it
    bool added = false;
    bool special = false;
  };
  std::vector<NormalizerRule> normalizer;
  // What the merges begin with: characters, and bytes only for those that have no token
  // (SentencePiece's kind), or bytes alone.
  bool characters = false;
  std::vector<PreTokenizerRule> pre_tokenizer;  // of bytes
  Metaspace metaspace;                          // of characters
  std::unordered_map<char32_t, TokenId> character_tokens;
  std::string space;         // what the decoder writes as a space; empty: nothing
  bool strip_space = false;  // the decoder drops one space at the start of all
  bool ignore_merges = false;
  std::vector<Entry> entries;  // by id
  std::array<TokenId, 256> byte_tokens{};
  std::vector<Merge> merges;  // by rank
  std::vector<AddedToken> added;
};

// `where` names the file in errors.
Result<TokenizerFile> parse_tokenizer_file(std::string_view json, const std::string& where);

}  // namespace fathom
