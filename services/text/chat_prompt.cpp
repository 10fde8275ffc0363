#include "text/chat_prompt.h"

namespace fathom {
namespace {

// In the order of ChatMarker; bos is the tokenizer_config's.
constexpr std::array<std::string_view, kChatMarkers> kDeepSeekNames = {
    "",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<think>",
};

}  // namespace

Result<ChatMarkers> ChatMarkers::find(const Tokenizer& tokenizer, std::string_view bos,
                                      bool needs_think) {
  ChatMarkers markers;
  for (size_t i = 0; i < kChatMarkers; ++i) {
    const bool optional = static_cast<ChatMarker>(i) == ChatMarker::think && !needs_think;
    markers.text[i] = i == 0 ? bos : kDeepSeekNames[i];
    const std::optional<TokenId> id = tokenizer.find_added(markers.text[i]);
    if (!id && !optional)
      return Error{Code::failed_precondition,
                   "the chat format needs the token " + markers.text[i] +
                       ", which the tokenizer does not have",
                   "tokenizer.json"};
    markers.id[i] = id.value_or(-1);
  }
  return markers;
}

ChatPrompt& ChatPrompt::marker(ChatMarker marker) {
  const auto index = static_cast<size_t>(marker);
  CHECK(markers_.id[index] >= 0, "a marker the format did not ask for");
  encode_pending();
  chat_.tokens.push_back(markers_.id[index]);
  chat_.text += markers_.text[index];
  pending_ = chat_.text.size();
  return *this;
}

ChatPrompt& ChatPrompt::text(std::string_view text) {
  chat_.text += text;
  return *this;
}

void ChatPrompt::encode_pending() {
  tokenizer_.encode(std::string_view(chat_.text).substr(pending_), Specials::as_text, chat_.tokens);
  pending_ = chat_.text.size();
}

EncodedChat ChatPrompt::finish(ReasoningStart reasoning) {
  encode_pending();
  chat_.reasoning = reasoning;
  return std::move(chat_);
}

}  // namespace fathom
