// What does a template see of a conversation? Messages as Hugging Face hands them over: plain dicts
// whose texts are marked as typed by people. Roles are ours, so they stay unmarked: templates build
// markers from them.
#pragma once

#include <span>

#include "text/chat_format.h"
#include "text/jinja/template.h"

namespace fathom {

// What a template wants to get in other than the usual form; found by trying.
struct ChatShape {
  bool content_parts = false;      // a list of {"type": "text", "text": ...} in place of a string
  bool arguments_objects = false;  // of tool calls, in place of JSON text
  // So that it shows every call; used with ChatOptions::keep_calls.
  bool keep_calls = false;
  bool empty_for_null = false;  // "" in place of null beside tool calls
  bool calls_alone = false;     // calls of a message with content as a message of their own
};

// INVALID_ARGUMENT naming the arguments that are no JSON object where objects are wanted.
// `final_source` marks the content of the last message.
Result<jinja::Value> chat_messages(std::span<const ChatMessage> messages, const ChatShape& shape,
                                   TextSource final_source);

// INVALID_ARGUMENT for what no template can render, naming the message.
Status check_chat(std::span<const ChatMessage> messages, const ChatOptions& options);
Error null_content(size_t index);
std::string message_field(size_t index, std::string_view name);

}  // namespace fathom
