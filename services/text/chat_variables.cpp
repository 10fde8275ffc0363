#include "text/chat_variables.h"

namespace fathom {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::Value;

void put(Dict& dict, std::string_view key, Value value) {
  dict.set(Value::trusted(key), std::move(value));
}

Value list_of(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) {
    list->depth = std::max(list->depth, item.depth() + 1);
    list->weight += item.weight();
  }
  list->items = std::move(items);
  return jinja::ListPtr(std::move(list));
}

Value dict_of(Dict dict) { return std::make_shared<const Dict>(std::move(dict)); }

std::string_view role_name(ChatRole role) {
  switch (role) {
    case ChatRole::system:
      return "system";
    case ChatRole::user:
      return "user";
    case ChatRole::assistant:
      return "assistant";
    case ChatRole::tool:
      return "tool";
  }
  return "user";
}

Value content_of(const ChatMessage& message, const ChatShape& shape, TextSource source) {
  const bool calls_only = message.content.empty() && !message.tool_calls.empty();
  if (shape.keep_calls && calls_only)
    return shape.empty_for_null ? Value::trusted("") : Value::none();
  if (!message.has_content) return Value::none();
  Value text = jinja::text_value(message.content, source);
  if (!shape.content_parts) return text;
  Dict part;
  put(part, "type", Value::trusted("text"));
  put(part, "text", std::move(text));
  return list_of({dict_of(std::move(part))});
}

Result<Value> arguments_of(const ToolCall& call, const ChatShape& shape, std::string field) {
  if (!shape.arguments_objects) return jinja::text_value(call.arguments, TextSource::people);
  if (call.arguments.empty()) return dict_of({});  // what a stream without a piece of them leaves
  const Result<Value> parsed = jinja::value_of_json(call.arguments, TextSource::people);
  if (!parsed.ok() || !parsed->is(jinja::Kind::dict))
    return invalid("the arguments of a tool call must be a JSON object", std::move(field));
  return *parsed;
}

Result<Value> call_of(const ToolCall& call, const ChatShape& shape, const std::string& field) {
  Dict function;
  put(function, "name", jinja::text_value(call.name, TextSource::people));
  FATHOM_TRY(Value arguments, arguments_of(call, shape, field + ".function.arguments"));
  put(function, "arguments", std::move(arguments));
  Dict out;
  if (!call.id.empty()) put(out, "id", jinja::text_value(call.id, TextSource::people));
  put(out, "type", jinja::text_value(call.type, TextSource::people));
  put(out, "function", dict_of(std::move(function)));
  return dict_of(std::move(out));
}

// `index`: which message of the request it comes from, for errors.
Result<Value> message_of(const ChatMessage& message, size_t index, const ChatShape& shape,
                         TextSource source) {
  Dict dict;
  put(dict, "role", Value::trusted(role_name(message.role)));
  put(dict, "content", content_of(message, shape, source));
  if (!message.reasoning_content.empty())
    put(dict, "reasoning_content",
        jinja::text_value(message.reasoning_content, TextSource::people));
  if (!message.tool_call_id.empty())
    put(dict, "tool_call_id", jinja::text_value(message.tool_call_id, TextSource::people));
  std::vector<Value> calls;
  for (size_t k = 0; k < message.tool_calls.size(); ++k) {
    const std::string field = message_field(index, "tool_calls[" + std::to_string(k) + "]");
    FATHOM_TRY(Value call, call_of(message.tool_calls[k], shape, field));
    calls.push_back(std::move(call));
  }
  if (!calls.empty()) put(dict, "tool_calls", list_of(std::move(calls)));
  return dict_of(std::move(dict));
}

}  // namespace

std::string message_field(size_t index, std::string_view name) {
  return "messages[" + std::to_string(index) + "]." + std::string(name);
}

Error null_content(size_t index) {
  return invalid("content must be a string here: the chat template can not render null",
                 message_field(index, "content"));
}

Status check_chat(std::span<const ChatMessage> messages, const ChatOptions& options) {
  if (messages.empty()) return invalid("a chat needs at least one message", "messages");
  for (size_t i = 0; i < messages.size(); ++i)
    if (messages[i].role != ChatRole::assistant && !messages[i].has_content) return null_content(i);
  if (!options.continue_final_message) return {};
  const size_t last = messages.size() - 1;
  if (messages[last].role != ChatRole::assistant)
    return invalid("only a final assistant message can be continued", message_field(last, "role"));
  if (!messages[last].has_content) return null_content(last);
  if (!messages[last].tool_calls.empty())
    return invalid("a message with tool calls can not be continued",
                   message_field(last, "tool_calls"));
  return {};
}

Result<Value> chat_messages(std::span<const ChatMessage> messages, const ChatShape& shape,
                            TextSource final_source) {
  std::vector<Value> out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const TextSource source = i + 1 == messages.size() ? final_source : TextSource::people;
    const bool alone = shape.keep_calls && shape.calls_alone;
    if (alone && !message.tool_calls.empty() && !message.content.empty()) {
      ChatMessage text = message;
      text.tool_calls.clear();
      FATHOM_TRY(Value said, message_of(text, i, shape, source));
      out.push_back(std::move(said));
      ChatMessage calls = message;
      calls.content.clear();
      calls.reasoning_content.clear();
      FATHOM_TRY(Value called, message_of(calls, i, shape, source));
      out.push_back(std::move(called));
      continue;
    }
    FATHOM_TRY(Value one, message_of(message, i, shape, source));
    out.push_back(std::move(one));
  }
  return list_of(std::move(out));
}

}  // namespace fathom
