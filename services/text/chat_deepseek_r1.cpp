// How do R1's templates render a chat? The presence of tool calls decides; content goes before the
// first call of the whole conversation and is lost before later ones. Every block of calls is
// closed.
#include "text/chat_turns.h"

namespace fathom {
namespace {

void render_calls(ChatTurns& turns, const ChatMessage& message) {
  turns.after_output = false;
  for (const ToolCall& call : message.tool_calls) {
    if (turns.called) {
      turns.prompt.text("\n");
    } else {
      turns.prompt.marker(ChatMarker::assistant);
      if (message.has_content) turns.prompt.text(message.content);
      turns.prompt.marker(ChatMarker::calls_begin);
    }
    turns.called = true;
    turns.call_body(call);
  }
  turns.prompt.marker(ChatMarker::calls_end).marker(ChatMarker::eos);
}

class DeepSeekR1 final : public ChatFormat {
 public:
  DeepSeekR1(const ChatStyle& style, ChatMarkers markers,
             std::shared_ptr<const Tokenizer> tokenizer)
      : style_(style), markers_(std::move(markers)), tokenizer_(std::move(tokenizer)) {}
  std::string_view name() const override { return style_.name; }

  Result<EncodedChat> encode(std::span<const ChatMessage> messages,
                             const ChatOptions& options) const override {
    ChatTurns turns{style_, messages, options, ChatPrompt(*tokenizer_, markers_)};
    FATHOM_CHECKED(turns.check());
    turns.begin();
    for (size_t i = 0; i < messages.size(); ++i) {
      const ChatMessage& message = messages[i];
      if (message.role == ChatRole::user) turns.user(message);
      if (message.role == ChatRole::tool) turns.output(message, "");
      if (message.role != ChatRole::assistant) continue;
      if (!message.tool_calls.empty()) {
        render_calls(turns, message);
      } else {
        if (!message.has_content) return null_content(i);
        turns.answer(message, i + 1 == messages.size());
      }
    }
    return turns.end();
  }

 private:
  const ChatStyle& style_;
  ChatMarkers markers_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace

std::shared_ptr<const ChatFormat> make_deepseek_r1(const ChatStyle& style, ChatMarkers markers,
                                                   std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_shared<DeepSeekR1>(style, std::move(markers), std::move(tokenizer));
}

}  // namespace fathom
