// Which pieces of JSON do streamed and whole OpenAI answers share? Log-probabilities and usage.
#pragma once

#include <span>
#include <string>

#include "gateway/choice_text.h"
#include "gateway/request.h"
#include "text/tokenizer.h"

namespace fathom {

void append_usage(std::string& out, const UsageCount& usage);

// {"content":[...],"refusal":null}
void append_chat_logprobs(std::string& out, const Tokenizer* tokenizer,
                          std::span<const ScoredToken> scored, int top);

// {"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]}, gathered token by token.
class CompletionLogprobs {
 public:
  CompletionLogprobs(const Tokenizer* tokenizer, int top) : tokenizer_(tokenizer), top_(top) {}
  // `score` null: the first token of the prompt. `in_text`: its bytes are part of the answer's
  // text.
  void add(TokenId token, const TokenLogprob* score, bool in_text);
  void add(std::span<const ScoredToken> scored);
  // Appends the object for what was added since the last take.
  void take(std::string& out);

 private:
  void append_alternatives(const TokenLogprob& score);

  const Tokenizer* tokenizer_;
  int top_;
  int64_t offset_ = 0;  // in characters of the whole text
  std::string tokens_, logprobs_, tops_, offsets_;
};

// The prompt's tokens; scores are of all but the first. A first token that is special (BOS) is not
// in the text.
void add_prompt(std::span<const TokenId> tokens, std::span<const TokenLogprob> scores,
                const Tokenizer* tokenizer, CompletionLogprobs& out);

}  // namespace fathom
