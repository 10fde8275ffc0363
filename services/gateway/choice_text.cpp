#include "gateway/choice_text.h"

#include <utility>

namespace fathom {
namespace {

// Longer than anything a reasoning parser holds back ("</think>" and newlines).
constexpr int64_t kHeldBytesMax = 64;

}  // namespace

void Delta::clear() {
  reasoning.clear();
  content.clear();
  scored.clear();
  token_ids.clear();
}

ChoiceText::ChoiceText(const ChoiceTextOptions& options) : tokenizer_(options.tokenizer) {
  if (tokenizer_ != nullptr) detokenizer_.emplace(*tokenizer_, options.skip_special);
  if (options.reasoning != ReasoningStart::none) {
    parser_.emplace(options.reasoning);
    answer_begin_ = -1;
  }
  if (!options.stop.empty()) stop_.emplace(options.stop, options.include_stop);
}

bool ChoiceText::push(TokenId token, const TokenLogprob* logprob, bool hidden, Delta& delta) {
  delta.token_ids.push_back(token);
  if (stopped_) return true;
  if (detokenizer_ && !hidden) {
    text_.clear();
    detokenizer_->push(token, text_);
    // A token that will never show anything, such as a skipped special, is not reported.
    const bool silent =
        text_.empty() && (tokenizer_->is_special(token) || tokenizer_->bytes(token).empty());
    if (logprob != nullptr && !silent) waiting_.push_back({{token, *logprob}, decoded_bytes_, -1});
    stopped_ = show(text_, delta);
  } else if (logprob != nullptr && !detokenizer_) {
    delta.scored.push_back({token, *logprob});
  }
  if (parser_ && parser_->in_reasoning()) ++reasoning_tokens_;
  if (!waiting_.empty()) release(stopped_, delta);
  return stopped_;
}

bool ChoiceText::show(std::string_view text, Delta& delta) {
  if (text.empty()) return false;
  decoded_bytes_ += static_cast<int64_t>(text.size());
  for (auto w = waiting_.rbegin(); w != waiting_.rend() && w->end < 0; ++w) w->end = decoded_bytes_;
  if (!parser_) return show_answer(text, delta);
  parts_.reasoning.clear();
  parts_.content.clear();
  parser_->push(text, parts_);
  delta.reasoning += parts_.reasoning;
  return show_answer(parts_.content, delta);
}

bool ChoiceText::show_answer(std::string_view text, Delta& delta) {
  if (text.empty()) return false;
  if (answer_begin_ < 0) answer_begin_ = decoded_bytes_ - static_cast<int64_t>(text.size());
  const size_t before = delta.content.size();
  bool found = false;
  if (stop_) {
    found = stop_->push(text, delta.content);
  } else {
    delta.content += text;
  }
  shown_bytes_ += static_cast<int64_t>(delta.content.size() - before);
  return found;
}

void ChoiceText::flush(Delta& delta) {
  if (detokenizer_ && !stopped_) {
    text_.clear();
    detokenizer_->flush(text_);
    stopped_ = show(text_, delta);
  }
  if (parser_ && !stopped_) {
    parts_.reasoning.clear();
    parts_.content.clear();
    parser_->flush(parts_);
    delta.reasoning += parts_.reasoning;
    stopped_ = show_answer(parts_.content, delta);
  }
  if (stop_ && !stopped_) {
    const size_t before = delta.content.size();
    stop_->flush(delta.content);
    shown_bytes_ += static_cast<int64_t>(delta.content.size() - before);
  }
  release(true, delta);
}

// Content is one unbroken stretch of what was decoded, from answer_begin_ on; a token is shown when
// its bytes are. At the end one that is shown in part counts as shown.
void ChoiceText::release(bool all, Delta& delta) {
  if (answer_begin_ < 0) {
    while (!waiting_.empty() && waiting_.front().end + kHeldBytesMax < decoded_bytes_)
      waiting_.pop_front();
    return;
  }
  const int64_t visible = answer_begin_ + shown_bytes_;
  while (!waiting_.empty()) {
    Waiting& next = waiting_.front();
    if (next.end < 0 && !all) return;
    if (next.end > answer_begin_) {
      const bool shown = next.end <= visible || (all && next.begin < visible);
      if (!shown && !all) return;
      if (shown) delta.scored.push_back(std::move(next.scored));
    }
    waiting_.pop_front();
  }
}

}  // namespace fathom
