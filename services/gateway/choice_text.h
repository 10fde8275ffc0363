// What does a client see of one choice after each token? Tokens go through detokeniser, reasoning
// parser, tool calls and stop strings, in this order; log-probabilities come out with the text they
// belong to. Nothing is shown that may still change, and characters are never split.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gateway/scored_text.h"
#include "text/reasoning.h"
#include "text/stop_text.h"
#include "text/tokenizer.h"
#include "text/tool_calls.h"

namespace fathom {

// A call that begins, or more of the arguments of one that has begun.
struct CallDelta {
  int call = 0;  // of this choice, from 0
  bool begins = false;
  std::string text;  // its name; a piece of its arguments
};

// What became visible.
struct Delta {
  std::string reasoning;
  std::string content;
  std::vector<CallDelta> calls;
  std::vector<ScoredToken> scored;  // tokens of the content, when asked
  std::vector<TokenId> token_ids;   // everything emitted, visible or not
  void clear();
  bool empty() const {
    return reasoning.empty() && content.empty() && calls.empty() && scored.empty();
  }
};

struct ChoiceTextOptions {
  const Tokenizer* tokenizer = nullptr;  // null: no text at all
  bool skip_special = true;
  ReasoningStart reasoning = ReasoningStart::none;
  ToolFormat tools = ToolFormat::none;  // none: calls are text like any other
  std::vector<std::string> tool_names;
  bool one_call = false;  // the answer ends with its first call
  std::string beginning;  // of the answer, in the prompt: what a required call begins with
  std::vector<std::string> stop;
  bool include_stop = false;
};

class ChoiceText {
 public:
  explicit ChoiceText(const ChoiceTextOptions& options);
  // Appends to `delta`; true once the answer is at its end: a stop string, or the only call.
  // `logprob` may be null. A `hidden` token counts but shows no text: the stop token that ended the
  // sequence.
  bool push(TokenId token, const TokenLogprob* logprob, bool hidden, Delta& delta);
  void flush(Delta& delta);  // the end: what was held back
  int32_t reasoning_tokens() const { return reasoning_tokens_; }
  // Tools are called, and no call was cut off.
  bool calls() const { return tools_ && tools_->begun() > 0 && tools_->begun() == tools_->ended(); }

 private:
  bool show(std::string_view text, Delta& delta);
  bool show_answer(std::string_view text, Delta& delta);
  bool show_pieces(Delta& delta);
  bool show_text(std::string_view text, int64_t begin, Delta& delta);

  const Tokenizer* tokenizer_;
  std::optional<Detokenizer> detokenizer_;
  std::optional<ReasoningParser> parser_;  // only where there is reasoning to part from the answer
  std::optional<ToolCallParser> tools_;    // only where tools may be called
  std::optional<StopText> stop_;           // only where there are stop strings
  bool one_call_ = false;
  bool stopped_ = false;  // nothing more is shown
  bool found_ = false;    // a stop string
  int32_t reasoning_tokens_ = 0;

  ScoredText scored_;
  int64_t decoded_bytes_ = 0;  // given to the parser
  int64_t answer_begin_ = 0;   // where the answer begins in what was decoded; -1: not yet
  std::string text_;           // reused
  ReasoningParser::Parts parts_;
  std::vector<AnswerPiece> pieces_;
};

}  // namespace fathom
