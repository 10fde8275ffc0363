// How do V3's templates, and the distills made from them, render a chat? A null content means tool
// calls; calls beside a content are not rendered. The block of calls is closed after each call but
// the first, so a single call stays open: published, and what the models saw.
#include "text/chat_turns.h"

namespace fathom {
namespace {

void render_calls(ChatTurns& turns, const ChatMessage& message) {
  turns.after_output = false;
  for (const ToolCall& call : message.tool_calls) {
    const bool first = !turns.called;
    turns.called = true;
    if (first)
      turns.prompt.marker(ChatMarker::assistant).marker(ChatMarker::calls_begin);
    else
      turns.prompt.text("\n");
    turns.call_body(call);
    if (!first) turns.prompt.marker(ChatMarker::calls_end).marker(ChatMarker::eos);
  }
}

class DeepSeekV3 final : public ChatFormat {
 public:
  DeepSeekV3(const ChatStyle& style, ChatMarkers markers,
             std::shared_ptr<const Tokenizer> tokenizer)
      : style_(style), markers_(std::move(markers)), tokenizer_(std::move(tokenizer)) {}
  std::string_view name() const override { return style_.name; }

  Result<EncodedChat> encode(std::span<const ChatMessage> messages,
                             const ChatOptions& options) const override {
    ChatTurns turns{style_, messages, options, ChatPrompt(*tokenizer_, markers_)};
    FATHOM_CHECKED(turns.check());
    turns.begin();
    for (const ChatMessage& message : messages) {
      if (message.role == ChatRole::user) turns.user(message);
      if (message.role == ChatRole::tool) turns.output(message, "\n");
      if (message.role != ChatRole::assistant) continue;
      if (message.has_content)
        turns.answer(message, &message == &messages.back());
      else
        render_calls(turns, message);
    }
    return turns.end();
  }

 private:
  const ChatStyle& style_;
  ChatMarkers markers_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace

std::shared_ptr<const ChatFormat> make_deepseek_v3(const ChatStyle& style, ChatMarkers markers,
                                                   std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_shared<DeepSeekV3>(style, std::move(markers), std::move(tokenizer));
}

}  // namespace fathom
