// Where in this text are added tokens? A trie of their contents, scanned from left to right, the
// longest match at a position taken, matches never overlapping. The cost per character is bounded
// by the longest content.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "text/marked_text.h"

namespace fathom {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;      // skip_special_tokens drops it
  bool normalized = false;   // looked for after the normalizer, else before
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
};

class AddedTokens {
 public:
  void add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  struct Match {
    size_t begin = 0, end = 0;
    TokenId id = 0;
  };
  // Appends all matches in valid UTF-8, in order; none touches bytes that were typed.
  void find(std::string_view text, std::span<const TypedSpan> typed, std::vector<Match>& out) const;

 private:
  struct Node {
    std::map<char, uint32_t> next;
    int32_t token = -1;
  };
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> starts_{};  // bytes that begin some content
};

}  // namespace fathom
