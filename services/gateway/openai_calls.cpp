#include "gateway/openai_calls.h"

#include "gateway/json_text.h"

namespace fathom {
namespace {

// {"name":...,"arguments":...}
void append_function(std::string& out, std::string_view name, std::string_view arguments) {
  out += "{\"name\":";
  append_json(out, name);
  out += ",\"arguments\":";
  append_json(out, arguments);
  out += '}';
}

}  // namespace

void gather(const std::vector<CallDelta>& deltas, std::vector<FinishedCall>& calls) {
  for (const CallDelta& delta : deltas) {
    if (delta.begins) {
      calls.push_back({delta.text, {}});
    } else if (!calls.empty()) {
      calls.back().arguments += delta.text;
    }
  }
}

std::string call_id(std::string_view answer_id, int choice, int call) {
  const std::string_view unique = answer_id.substr(answer_id.find('-') + 1);
  return "call_" + std::string(unique) + "_" + std::to_string(choice) + "_" + std::to_string(call);
}

void append_call(std::string& out, std::string_view id, const CallDelta& delta, bool legacy) {
  if (legacy) {
    out += "\"function_call\":";
  } else {
    out += "\"tool_calls\":[{\"index\":";
    append_json(out, static_cast<int64_t>(delta.call));
    if (delta.begins) out += ",\"id\":" + json_quoted(id) + ",\"type\":\"function\"";
    out += ",\"function\":";
  }
  if (delta.begins) {
    append_function(out, delta.text, "");
  } else {
    out += "{\"arguments\":";
    append_json(out, delta.text);
    out += '}';
  }
  if (!legacy) out += "}]";
}

void append_calls(std::string& out, std::string_view answer_id, int choice,
                  const std::vector<FinishedCall>& calls, bool legacy) {
  if (calls.empty()) return;
  if (legacy) {
    out += "\"function_call\":";
    return append_function(out, calls.front().name, calls.front().arguments);
  }
  out += "\"tool_calls\":";
  const char* comma = "[";
  for (size_t i = 0; i < calls.size(); ++i) {
    out += comma;
    out += "{\"id\":" + json_quoted(call_id(answer_id, choice, static_cast<int>(i))) +
           ",\"type\":\"function\",\"function\":";
    append_function(out, calls[i].name, calls[i].arguments);
    out += '}';
    comma = ",";
  }
  out += ']';
}

}  // namespace fathom
