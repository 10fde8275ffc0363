// What does a client see of one choice after each token? Tokens go through detokeniser, reasoning
// parser and stop strings, in this order; log-probabilities come out with the text they belong to.
// Nothing is shown that may still change, and characters are never split.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "contract/sampling.h"
#include "text/reasoning.h"
#include "text/stop_text.h"
#include "text/tokenizer.h"

namespace fathom {

struct ScoredToken {
  TokenId token = 0;
  TokenLogprob logprob;
};

// What became visible.
struct Delta {
  std::string reasoning;
  std::string content;
  std::vector<ScoredToken> scored;  // tokens of the content, when asked
  std::vector<TokenId> token_ids;   // everything emitted, visible or not
  void clear();
  bool empty() const { return reasoning.empty() && content.empty() && scored.empty(); }
};

struct ChoiceTextOptions {
  const Tokenizer* tokenizer = nullptr;  // null: no text at all
  bool skip_special = true;
  ReasoningStart reasoning = ReasoningStart::none;
  std::vector<std::string> stop;
  bool include_stop = false;
};

class ChoiceText {
 public:
  explicit ChoiceText(const ChoiceTextOptions& options);
  // Appends to `delta`; true once a stop string was found. `logprob` may be null. A `hidden` token
  // counts but shows no text: the stop token that ended the sequence.
  bool push(TokenId token, const TokenLogprob* logprob, bool hidden, Delta& delta);
  void flush(Delta& delta);  // the end: what was held back
  int32_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  struct Waiting {
    ScoredToken scored;
    int64_t begin, end;  // its text in everything decoded; end -1: all of it is still held back
  };
  bool show(std::string_view text, Delta& delta);
  bool show_answer(std::string_view text, Delta& delta);
  void release(bool all, Delta& delta);

  const Tokenizer* tokenizer_;
  std::optional<Detokenizer> detokenizer_;
  std::optional<ReasoningParser> parser_;  // only where there is reasoning to part from the answer
  std::optional<StopText> stop_;           // only where there are stop strings
  bool stopped_ = false;
  int32_t reasoning_tokens_ = 0;

  std::deque<Waiting> waiting_;
  int64_t decoded_bytes_ = 0;  // given to the parser
  int64_t shown_bytes_ = 0;    // shown as content
  int64_t answer_begin_ = 0;   // where the answer begins in what was decoded; -1: not yet
  std::string text_;           // reused
  ReasoningParser::Parts parts_;
};

}  // namespace fathom
