// Which bodies of /v1/chat/completions are chats we can hold? Text messages, tools, sampling and
// streaming; formats and other media are refused by name.
#include <algorithm>
#include <boost/json/serialize.hpp>

#include "gateway/openai_fields.h"

namespace fathom {

namespace json = boost::json;

namespace {

std::optional<ChatRole> role_named(std::string_view name) {
  if (name == "system" || name == "developer") return ChatRole::system;
  if (name == "user") return ChatRole::user;
  if (name == "assistant") return ChatRole::assistant;
  if (name == "tool" || name == "function") return ChatRole::tool;
  return std::nullopt;
}

// Text parts are joined without a separator.
void read_parts(JsonFields& message, const json::array& parts, ChatMessage& out) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string at = "content[" + std::to_string(i) + "]";
    const json::object* part = parts[i].if_object();
    if (part == nullptr) return message.wrong(at, "an object with 'type' and 'text'");
    JsonFields fields(*part, message.path(at));
    const std::string type = fields.text("type").value_or("");
    if (type == "text" || type == "refusal") {
      if (const auto text = fields.text(type == "text" ? "text" : "refusal")) {
        out.content += *text;
      } else {
        fields.wrong(type == "text" ? "text" : "refusal", "a string");
      }
    } else {
      fields.fail(
          bad_request("'" + fields.path("type") + "' must be 'text': this model reads text only",
                      fields.path("type")));
    }
    if (fields.error()) return message.fail(*fields.error());
  }
}

void read_message(JsonFields& fields, ChatMessage& out) {
  const auto name = fields.text("role");
  const auto role = name ? role_named(*name) : std::nullopt;
  if (!role) return fields.wrong("role", "system, developer, user, assistant or tool");
  out.role = *role;
  const json::value* content = fields.find("content");
  if (content == nullptr) {
    out.has_content = false;
  } else if (const json::string* text = content->if_string()) {
    out.content.assign(text->data(), text->size());
  } else if (const json::array* parts = content->if_array()) {
    read_parts(fields, *parts, out);
  } else {
    fields.wrong("content", "a string or a list of parts");
  }
  read_message_calls(fields, *name, out);
  out.reasoning_content = fields.text("reasoning_content").value_or("");
  if (!out.has_content && out.role != ChatRole::assistant) fields.wrong("content", "a string");
  if (!out.has_content && out.tool_calls.empty() && out.role == ChatRole::assistant)
    out.has_content = true;
  if (fields.has("audio"))
    fields.fail(unsupported(fields.path("audio"), "this model reads text only"));
}

void read_format(JsonFields& fields) {
  if (const json::object* format = fields.object("response_format")) {
    JsonFields inner(*format, "response_format");
    const auto type = inner.text("type");
    if (!type) inner.wrong("type", "a string");
    if (type && *type != "text")
      inner.fail(unsupported(
          "response_format.type",
          "'response_format.type' must be 'text': other formats are not supported yet"));
    if (inner.error()) fields.fail(*inner.error());
  }
  if (const json::array* list = fields.list("modalities"))
    if (list->size() != 1 || list->front() != "text")
      fields.fail(unsupported("modalities", "'modalities' must be [\"text\"]"));
  fields.refuse({"audio", "web_search_options"}, "this model reads and writes text only");
}

void read_logprobs(JsonFields& fields, Generate& out) {
  const bool wanted = fields.flag("logprobs", false);
  const auto top = fields.integer("top_logprobs", 0, kTopLogprobsMax);
  if (top && !wanted)
    fields.fail(bad_request("'top_logprobs' needs 'logprobs': true", "top_logprobs"));
  if (wanted) out.sampling.logprobs = static_cast<int32_t>(top.value_or(0));
}

// Templates call it either way, so a client may too; all of the object reaches the template.
void read_template_variables(JsonFields& fields, Generate& out, ChatOptions& options) {
  const json::object* kwargs = fields.object("chat_template_kwargs");
  if (kwargs == nullptr) return;
  JsonFields inner(*kwargs, "chat_template_kwargs");
  for (const char* name : {"thinking", "enable_thinking"}) {
    if (!inner.has(name)) continue;
    options.thinking = inner.flag(name, true);
    out.wants_no_reasoning = out.wants_no_reasoning || !*options.thinking;
  }
  options.variables = json::serialize(*kwargs);
  if (inner.error()) fields.fail(*inner.error());
}

void read_length(JsonFields& fields, const ParseLimits& limits, Generate& out) {
  const auto old_name = fields.integer("max_tokens", 1, limits.max_tokens_max);
  const auto new_name = fields.integer("max_completion_tokens", 1, limits.max_tokens_max);
  if (const auto asked = new_name ? new_name : old_name)
    out.max_tokens = static_cast<int32_t>(*asked);
  if (out.max_tokens && out.sampling.min_tokens > *out.max_tokens)
    fields.wrong("min_tokens", "at most the largest number of tokens asked");
}

void read_options(JsonFields& fields, ChatInput& chat) {
  chat.options.continue_final_message = fields.flag("continue_final_message", false);
  chat.options.add_generation_prompt =
      fields.flag("add_generation_prompt", !chat.options.continue_final_message);
  if (chat.options.continue_final_message && chat.options.add_generation_prompt)
    fields.fail(
        bad_request("'add_generation_prompt' and 'continue_final_message' exclude each other",
                    "continue_final_message"));
  if (chat.options.continue_final_message && !chat.messages.empty() &&
      chat.messages.back().role != ChatRole::assistant)
    fields.fail(bad_request("'continue_final_message' needs a last message of the assistant",
                            "continue_final_message"));
}

// DeepSeek's spelling of the same: the last assistant message is the beginning of the answer.
void read_prefix(JsonFields& fields, ChatInput& chat) {
  const json::array* list = fields.list("messages");
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const json::object* message = (*list)[i].if_object();
    if (message == nullptr) continue;
    const json::value* prefix = message->if_contains("prefix");
    if (prefix == nullptr || prefix->is_null()) continue;
    const std::string at = "messages[" + std::to_string(i) + "].prefix";
    if (!prefix->is_bool()) return fields.wrong(at, "true or false");
    if (!prefix->get_bool()) continue;
    if (i + 1 != list->size() || chat.messages.back().role != ChatRole::assistant)
      return fields.fail(
          bad_request("'" + at + "' is only for a last message of the assistant", at));
    chat.options = {.add_generation_prompt = false, .continue_final_message = true};
  }
}

}  // namespace

void read_thinking(JsonFields& fields, Generate& out, ChatOptions& options) {
  if (const auto effort = fields.text("reasoning_effort")) {
    static constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium",
                                                    "high", "xhigh",   "max", "ultra"};
    if (std::find(std::begin(kEfforts), std::end(kEfforts), *effort) == std::end(kEfforts))
      fields.wrong("reasoning_effort", "none, minimal, low, medium, high, xhigh or max");
    out.wants_no_reasoning = *effort == "none";
  }
  if (const json::object* thinking = fields.object("thinking")) {
    JsonFields inner(*thinking, "thinking");
    const std::string type = inner.text("type").value_or("");
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      inner.wrong("type", "enabled, disabled or adaptive");
    if (inner.error()) fields.fail(*inner.error());
    out.wants_no_reasoning = type == "disabled";
    if (type == "enabled") options.thinking = true;
  }
  if (out.wants_no_reasoning) options.thinking = false;
  read_template_variables(fields, out, options);
  out.show_reasoning = fields.flag("include_reasoning", true);
}

void read_messages(JsonFields& fields, ChatInput& out) {
  const json::array* list = fields.list("messages");
  if (list == nullptr || list->empty()) {
    fields.fail(bad_request("'messages' must be a list of at least one message", "messages"));
    return;
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string at = "messages[" + std::to_string(i) + "]";
    const json::object* message = (*list)[i].if_object();
    if (message == nullptr) return fields.wrong(at, "an object");
    JsonFields inner(*message, at);
    ChatMessage item;
    read_message(inner, item);
    if (inner.error()) return fields.fail(*inner.error());
    out.messages.push_back(std::move(item));
  }
  check_results(fields, out.messages);
  read_options(fields, out);
  read_prefix(fields, out);
}

Parsed<Generate> parse_chat(std::string_view body, const ParseLimits& limits) {
  Parsed<Generate> out;
  json::value root;
  if (out.error = parse_object(body, root); out.error) return out;
  JsonFields fields(root.get_object());
  Generate& request = out.request;
  request.surface = Surface::chat;
  read_common(fields, limits, request);
  ChatInput chat;
  read_messages(fields, chat);
  read_length(fields, limits, request);
  read_logprobs(fields, request);
  read_thinking(fields, request, chat.options);
  read_tools(fields, chat, request.tools);
  read_format(fields);
  request.echo = fields.flag("echo", false);
  fields.flag("add_special_tokens", false);
  request.input = std::move(chat);
  out.error = fields.error();
  out.unknown_fields = fields.unknown();
  return out;
}

}  // namespace fathom
