#include "gateway/choice_text.h"

#include <utility>

namespace fathom {
namespace {

// Longer than anything a reasoning parser holds back ("</think>" and newlines).
constexpr int64_t kHeldBytesMax = 64;

std::vector<TokenId> marker_ids(const Tokenizer& tokenizer, ToolFormat format) {
  std::vector<TokenId> out;
  for (const std::string_view marker : tool_markers(format))
    if (const auto id = tokenizer.find_added(marker)) out.push_back(*id);
  return out;
}

int64_t size_of(std::string_view text) { return static_cast<int64_t>(text.size()); }

}  // namespace

void Delta::clear() {
  reasoning.clear();
  content.clear();
  calls.clear();
  scored.clear();
  token_ids.clear();
}

ChoiceText::ChoiceText(const ChoiceTextOptions& options)
    : tokenizer_(options.tokenizer), one_call_(options.one_call) {
  if (tokenizer_ != nullptr)
    detokenizer_.emplace(*tokenizer_, options.skip_special, marker_ids(*tokenizer_, options.tools));
  if (options.reasoning != ReasoningStart::none) {
    parser_.emplace(options.reasoning);
    answer_begin_ = -1;
  }
  if (!options.stop.empty()) stop_.emplace(options.stop, options.include_stop);
  if (options.tools == ToolFormat::none) return;
  tools_.emplace(options.tools, options.tool_names);
  if (options.beginning.empty()) return;
  // It stands before all that is decoded; what it tells waits for the first token.
  tools_->push(options.beginning, pieces_);
  answer_begin_ -= size_of(options.beginning);
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
    if (logprob != nullptr && !silent) scored_.add({token, *logprob}, decoded_bytes_);
    stopped_ = show(text_, delta);
  } else if (logprob != nullptr && !detokenizer_) {
    delta.scored.push_back({token, *logprob});
  }
  if (parser_ && parser_->in_reasoning()) ++reasoning_tokens_;
  if (!scored_.empty()) scored_.release(stopped_, delta.scored);
  return stopped_;
}

bool ChoiceText::show(std::string_view text, Delta& delta) {
  if (text.empty()) return false;
  decoded_bytes_ += size_of(text);
  scored_.decoded(decoded_bytes_);
  if (!parser_) return show_answer(text, delta);
  parts_.reasoning.clear();
  parts_.content.clear();
  parser_->push(text, parts_);
  delta.reasoning += parts_.reasoning;
  scored_.certain(decoded_bytes_ - kHeldBytesMax);
  return show_answer(parts_.content, delta);
}

bool ChoiceText::show_answer(std::string_view text, Delta& delta) {
  if (text.empty()) return false;
  if (answer_begin_ < 0 && parser_) answer_begin_ = decoded_bytes_ - size_of(text);
  if (!tools_) {
    scored_.certain(decoded_bytes_);
    return show_text(text, decoded_bytes_ - size_of(text), delta);
  }
  tools_->push(text, pieces_);
  scored_.certain(answer_begin_ + tools_->certain());
  return show_pieces(delta);
}

// In the order of the answer, so that nothing behind its end is shown.
bool ChoiceText::show_pieces(Delta& delta) {
  bool ended = false;
  for (const AnswerPiece& piece : pieces_) {
    ended = one_call_ && piece.call > 0;
    if (!ended && piece.kind == AnswerPiece::Kind::text) {
      ended = show_text(piece.text, answer_begin_ + piece.at, delta);
      if (!ended) continue;
    }
    if (ended) break;
    const bool begins = piece.kind == AnswerPiece::Kind::call;
    if (!begins && !delta.calls.empty() && !delta.calls.back().begins &&
        delta.calls.back().call == piece.call) {
      delta.calls.back().text += piece.text;
    } else {
      delta.calls.push_back({piece.call, begins, piece.text});
    }
  }
  pieces_.clear();
  return ended || (one_call_ && tools_->ended() > 0);
}

bool ChoiceText::show_text(std::string_view text, int64_t begin, Delta& delta) {
  scored_.visible(begin, size_of(text));
  const size_t before = delta.content.size();
  if (stop_) {
    found_ = stop_->push(text, delta.content);
  } else {
    delta.content += text;
  }
  scored_.shown(static_cast<int64_t>(delta.content.size() - before));
  return found_;
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
  if (tools_ && !stopped_) {
    tools_->flush(pieces_);
    stopped_ = show_pieces(delta);
  }
  if (stop_ && !found_) {
    const size_t before = delta.content.size();
    stop_->flush(delta.content);
    scored_.shown(static_cast<int64_t>(delta.content.size() - before));
  }
  scored_.release(true, delta.scored);
}

}  // namespace fathom
