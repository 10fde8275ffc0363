#include "text/chat_turns.h"

namespace fathom {
namespace {

constexpr std::string_view kThinkClose = "</think>";

std::string field(size_t index, std::string_view name) {
  return "messages[" + std::to_string(index) + "]." + std::string(name);
}

}  // namespace

Error null_content(size_t index) {
  return invalid("content must be a string here: the chat template can not render null",
                 field(index, "content"));
}

Status ChatTurns::check() const {
  if (messages.empty()) return invalid("a chat needs at least one message", "messages");
  for (size_t i = 0; i < messages.size(); ++i)
    if (messages[i].role != ChatRole::assistant && !messages[i].has_content) return null_content(i);
  if (!options.continue_final_message) return {};
  const size_t last = messages.size() - 1;
  if (messages[last].role != ChatRole::assistant)
    return invalid("only a final assistant message can be continued", field(last, "role"));
  if (!messages[last].has_content) return null_content(last);
  if (!messages[last].tool_calls.empty())
    return invalid("a message with tool calls can not be continued", field(last, "tool_calls"));
  return {};
}

void ChatTurns::begin() {
  prompt.marker(ChatMarker::bos);
  std::string system;
  bool first = true;
  for (const ChatMessage& message : messages) {
    if (message.role != ChatRole::system) continue;
    if (!style.join_systems) system.clear();
    if (style.join_systems && !first) system += "\n\n";
    system += message.content;
    first = false;
  }
  prompt.text(system);
}

void ChatTurns::user(const ChatMessage& message) {
  after_output = false;
  prompt.marker(ChatMarker::user).text(message.content);
}

void ChatTurns::call_body(const ToolCall& call) {
  prompt.marker(ChatMarker::call_begin).text(call.type).marker(ChatMarker::sep);
  prompt.text(call.name)
      .text("\n```json\n")
      .text(call.arguments)
      .text("\n```")
      .marker(ChatMarker::call_end);
}

void ChatTurns::output(const ChatMessage& message, std::string_view between) {
  after_output = true;
  if (output_written)
    prompt.text(between);
  else
    prompt.marker(ChatMarker::outputs_begin);
  output_written = true;
  prompt.marker(ChatMarker::output_begin).text(message.content).marker(ChatMarker::output_end);
}

void ChatTurns::answer(const ChatMessage& message, bool last) {
  std::string_view content = message.content;
  if (after_output) {
    prompt.marker(ChatMarker::outputs_end);
  } else {
    prompt.marker(ChatMarker::assistant);
    const size_t close = style.strip_thinking ? content.rfind(kThinkClose) : std::string_view::npos;
    if (close != std::string_view::npos) content.remove_prefix(close + kThinkClose.size());
  }
  after_output = false;
  prompt.text(content);
  if (!(last && options.continue_final_message)) prompt.marker(ChatMarker::eos);
}

EncodedChat ChatTurns::end() {
  if (options.continue_final_message) {
    // The rest of a thought that the client began is still a thought.
    const std::string_view content = messages.back().content;
    const bool open = content.find("<think>") != std::string_view::npos &&
                      content.find(kThinkClose) == std::string_view::npos;
    const bool thinks = style.plain_start != ReasoningStart::none;
    return prompt.finish(thinks && open ? ReasoningStart::inside : ReasoningStart::none);
  }
  if (after_output) prompt.marker(ChatMarker::outputs_end);
  if (!options.add_generation_prompt || after_output) return prompt.finish(style.plain_start);
  prompt.marker(ChatMarker::assistant);
  if (!style.open_thinking) return prompt.finish(style.plain_start);
  prompt.marker(ChatMarker::think).text("\n");
  return prompt.finish(ReasoningStart::inside);
}

}  // namespace fathom
