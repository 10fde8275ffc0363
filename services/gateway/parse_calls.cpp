// Which calls did earlier answers make, and which results came back? A result must name a call
// before it that has none yet; templates write results in their order and without their ids, so
// they are put into the order of the calls.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "gateway/openai_fields.h"

namespace fathom {

namespace json = boost::json;

namespace {

constexpr size_t kCallsMax = 128;  // of one message

// What ties a legacy result to its call: its name, in the place of an id.
std::string legacy_id(const std::string& name) { return "function:" + name; }

// {"name", "arguments"}; the arguments are any text, as the model wrote them.
void read_function(JsonFields& fields, ToolCall& out) {
  out.name = fields.text("name").value_or("");
  out.arguments = fields.text("arguments").value_or("");
  if (out.name.empty()) fields.wrong("name", "a string");
}

void read_tool_calls(JsonFields& message, ChatMessage& out) {
  const json::array* calls = message.list("tool_calls");
  if (calls != nullptr && calls->size() > kCallsMax)
    return message.wrong("tool_calls", "at most 128 calls");
  for (size_t i = 0; calls != nullptr && i < calls->size(); ++i) {
    const std::string at = "tool_calls[" + std::to_string(i) + "]";
    const json::object* call = (*calls)[i].if_object();
    if (call == nullptr) return message.wrong(at, "an object");
    JsonFields fields(*call, message.path(at));
    ToolCall item{.id = fields.text("id").value_or("")};
    if (item.id.empty()) fields.wrong("id", "a string");
    const auto same = [&](const ToolCall& other) { return other.id == item.id; };
    if (std::ranges::any_of(out.tool_calls, same))
      fields.wrong("id", "another one than that of the calls beside it");
    if (fields.text("type").value_or("function") != "function")
      fields.fail(
          unsupported(fields.path("type"), "'" + fields.path("type") + "' must be 'function'"));
    if (const json::object* function = fields.object("function")) {
      JsonFields inner(*function, fields.path("function"));
      read_function(inner, item);
      if (inner.error()) fields.fail(*inner.error());
    } else {
      fields.wrong("function", "an object");
    }
    if (fields.error()) return message.fail(*fields.error());
    out.tool_calls.push_back(std::move(item));
  }
}

void read_function_call(JsonFields& message, ChatMessage& out) {
  const json::object* call = message.object("function_call");
  if (call == nullptr) return;
  if (!out.tool_calls.empty())
    return message.fail(
        bad_request("'" + message.path("function_call") + "' and 'tool_calls' exclude each other",
                    message.path("function_call")));
  JsonFields fields(*call, message.path("function_call"));
  ToolCall item;
  read_function(fields, item);
  if (fields.error()) return message.fail(*fields.error());
  item.id = legacy_id(item.name);
  out.tool_calls.push_back(std::move(item));
}

size_t place_of(const std::vector<ToolCall>& calls, const std::string& id) {
  const auto found = std::ranges::find(calls, id, &ToolCall::id);
  return static_cast<size_t>(found - calls.begin());
}

}  // namespace

void read_message_calls(JsonFields& message, std::string_view role, ChatMessage& out) {
  read_tool_calls(message, out);
  read_function_call(message, out);
  if (!out.tool_calls.empty() && out.role != ChatRole::assistant)
    message.fail(bad_request("'" + message.path("tool_calls") + "' is only for the assistant",
                             message.path("tool_calls")));
  out.tool_call_id = message.text("tool_call_id").value_or("");
  if (out.role != ChatRole::tool) return;
  const char* key = role == "function" ? "name" : "tool_call_id";
  const std::string said = message.text(key).value_or("");
  if (said.empty()) message.wrong(key, "what ties this result to its call");
  out.tool_call_id = role == "function" ? legacy_id(said) : said;
}

void check_results(JsonFields& fields, std::vector<ChatMessage>& messages) {
  std::unordered_map<std::string, int> open;  // calls that have no result yet
  for (size_t i = 0; i < messages.size(); ++i) {
    for (const ToolCall& call : messages[i].tool_calls) ++open[call.id];
    if (messages[i].role != ChatRole::tool) continue;
    const auto call = open.find(messages[i].tool_call_id);
    if (call == open.end() || call->second == 0) {
      const bool legacy = messages[i].tool_call_id.starts_with(legacy_id(""));
      const std::string at =
          "messages[" + std::to_string(i) + (legacy ? "].name" : "].tool_call_id");
      return fields.fail(
          bad_request("'" + at + "' must be that of a call before it that has no result yet", at));
    }
    --call->second;
  }
  for (auto call = messages.begin(); call != messages.end(); ++call) {
    if (call->tool_calls.size() < 2) continue;
    const auto end = std::find_if(call + 1, messages.end(), [](const ChatMessage& message) {
      return message.role != ChatRole::tool;
    });
    std::multimap<size_t, ChatMessage> results;  // of one place: in the order they came
    for (auto result = call + 1; result != end; ++result)
      results.emplace(place_of(call->tool_calls, result->tool_call_id), std::move(*result));
    auto next = call + 1;
    for (auto& [place, result] : results) *next++ = std::move(result);
  }
}

}  // namespace fathom
