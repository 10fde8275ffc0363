// Which token ids is this text, and back? A tokenizer.json with BPE of bytes (DeepSeek, Llama 3,
// Qwen2) or of characters with byte fallback (Llama 2). Anything else in the file is refused at
// load. Immutable after load; every method is const and safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/marked_text.h"

namespace fathom {

// Does `<｜User｜>` typed by a user become the special token? Only literals of a chat format say
// `parse`; whatever a client sends is `as_text`, except raw prompts of /v1/completions and
// /tokenize, which are the client's own rendering.
enum class Specials : uint8_t { parse, as_text };

class Tokenizer {
 public:
  // Reads tokenizer.json; errors name the file and the key.
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& path);
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json,
                                                        const std::string& where);
  ~Tokenizer();

  // Appends the ids of `text` (any bytes; invalid UTF-8 is encoded as what it decodes to, U+FFFD).
  // Linear in the length of the text.
  void encode(std::string_view text, Specials specials, std::vector<TokenId>& out) const;
  // A rendered chat: added tokens are looked for in the template's own bytes only. The ids are
  // those of the whole text whenever nobody typed a marker.
  void encode(const MarkedText& text, std::vector<TokenId>& out) const;

  // Whole-sequence decoding: bytes of all tokens, then invalid UTF-8 becomes U+FFFD, one per
  // maximal part.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;

  // Raw bytes of one token; empty for ids that have none (holes, beyond the vocabulary).
  std::string_view bytes(TokenId id) const;
  bool is_special(TokenId id) const;  // an added token with special: true
  bool is_added(TokenId id) const;
  std::optional<TokenId> find_added(std::string_view content) const;
  int32_t vocab_size() const;  // highest id + 1

 private:
  Tokenizer();
  struct State;
  std::unique_ptr<State> state_;
};

// Text as tokens arrive. Bytes that may still become a character are held back.
class Detokenizer {
 public:
  // `shown`: special tokens that are text all the same.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special, std::vector<TokenId> shown = {})
      : tokenizer_(&tokenizer), skip_special_(skip_special), shown_(std::move(shown)) {}
  // What may be shown after this token; appended to out.
  void push(TokenId id, std::string& out);
  // What is left at the end, as U+FFFD where it is not a character.
  void flush(std::string& out);

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<TokenId> shown_;
  std::string held_;  // an incomplete UTF-8 sequence, at most 3 bytes
};

}  // namespace fathom
