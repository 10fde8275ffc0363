// What do all DeepSeek formats have in common? The system text at the front, the body of a tool
// call, the outputs of tools, and how a prompt ends. Flags that the published templates set and
// never reset are kept that way: the second round of tools renders differently from the first, and
// must.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "text/chat_templates.h"

namespace fathom {

// The state a template carries from message to message.
struct ChatTurns {
  const ChatStyle& style;
  std::span<const ChatMessage> messages;
  const ChatOptions& options;
  ChatPrompt prompt;
  bool called = false;          // a tool was called: `is_first` of the templates
  bool after_output = false;    // the last message was a tool's: `is_tool`
  bool output_written = false;  // an output was written: not `is_output_first`

  // INVALID_ARGUMENT for what no template can render, naming the message.
  Status check() const;
  void begin();  // bos and the system text
  void user(const ChatMessage& message);
  void call_body(const ToolCall& call);  // from the call's begin to its end marker
  void output(const ChatMessage& message, std::string_view between);
  void answer(const ChatMessage& message, bool last);  // an assistant's content and its end
  EncodedChat end();
};

Error null_content(size_t index);

}  // namespace fathom
