// Which tools may the model call, and which must it? `tools` and `tool_choice`, or `functions` and
// `function_call` as they were called before; what can not be honoured is refused by name.
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <unordered_set>

#include "gateway/openai_fields.h"

namespace fathom {

namespace json = boost::json;

namespace {

constexpr size_t kToolsMax = 128;
constexpr size_t kNameMax = 64;
constexpr size_t kToolBytesMax = 1 << 20;  // of all of them as JSON

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameMax &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
             "0123456789_-") == std::string_view::npos;
}

// Name, description and parameters of one function; its name is added to `names`.
void read_function(JsonFields& fields, std::vector<std::string>& names) {
  const std::string name = fields.text("name").value_or("");
  if (!is_tool_name(name)) fields.wrong("name", "1 to 64 letters, digits, '_' or '-'");
  names.push_back(name);
  fields.text("description");
  if (const json::object* schema = fields.object("parameters")) {
    const json::value* type = schema->if_contains("type");
    if (type != nullptr && *type != "object") fields.wrong("parameters.type", "'object'");
  }
  if (fields.flag("strict", false))
    fields.fail(unsupported(fields.path("strict"),
                            "'" + fields.path("strict") +
                                "' is not supported: arguments are not held to their schema"));
}

// `functions` holds what each of `tools` has as its member `function`.
json::array read_list(JsonFields& fields, std::string_view key, bool bare,
                      std::vector<std::string>& names) {
  json::array out;
  const json::array* list = fields.list(key);
  if (list == nullptr) return out;
  if (list->size() > kToolsMax) fields.wrong(key, "at most 128 tools");
  for (size_t i = 0; i < list->size() && fields.ok(); ++i) {
    const std::string at = std::string(key) + "[" + std::to_string(i) + "]";
    const json::object* item = (*list)[i].if_object();
    if (item == nullptr) {
      fields.wrong(at, "an object");
      break;
    }
    JsonFields tool(*item, at);
    if (!bare && tool.text("type").value_or("function") != "function")
      tool.fail(unsupported(at + ".type", "'" + at + ".type' must be 'function'"));
    const json::object* function = bare ? item : tool.object("function");
    if (function == nullptr) {
      tool.wrong("function", "an object");
    } else {
      JsonFields inner(*function, bare ? at : at + ".function");
      read_function(inner, names);
      if (inner.error()) tool.fail(*inner.error());
    }
    if (tool.error()) fields.fail(*tool.error());
    json::object whole = bare ? json::object{{"type", "function"}, {"function", *item}} : *item;
    if (whole["type"].is_null()) whole["type"] = "function";
    out.emplace_back(std::move(whole));
  }
  return out;
}

void check_names(JsonFields& fields, std::string_view key, const std::vector<std::string>& names) {
  std::unordered_set<std::string_view> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (seen.insert(names[i]).second) continue;
    const std::string at = std::string(key) + "[" + std::to_string(i) + "]";
    fields.fail(bad_request("'" + at + "' has the name of another tool", at));
  }
}

// The name in {"type": "function", "function": {"name"}}, or in {"name"} as it was before.
void read_named(JsonFields& fields, std::string_view key, const json::object& choice,
                ToolUse& out) {
  JsonFields inner(choice, std::string(key));
  const json::object* named = &choice;
  if (!out.legacy) {
    if (inner.text("type").value_or("") != "function")
      inner.fail(
          unsupported(inner.path("type"), "'" + inner.path("type") + "' must be 'function'"));
    named = inner.object("function");
  }
  const json::value* name = named == nullptr ? nullptr : named->if_contains("name");
  const json::string* text = name == nullptr ? nullptr : name->if_string();
  const std::string path = out.legacy ? "name" : "function.name";
  if (text == nullptr) {
    inner.wrong(path, "a string");
  } else {
    out.choice = ToolUse::Choice::named;
    out.name.assign(text->data(), text->size());
    if (std::ranges::find(out.names, out.name) == out.names.end())
      inner.wrong(path, "the name of one of the tools");
  }
  if (inner.error()) fields.fail(*inner.error());
}

void read_choice(JsonFields& fields, std::string_view key, ToolUse& out) {
  const json::value* choice = fields.find(key);
  if (choice == nullptr) return;
  const json::string* word = choice->if_string();
  const json::object* named = choice->if_object();
  if (word != nullptr && *word == "none") {
    out.wanted = false;
  } else if (word != nullptr && *word == "auto") {
    return;
  } else if (named == nullptr && (word == nullptr || *word != "required" || out.legacy)) {
    fields.wrong(key, out.legacy ? "none, auto or the name of a function"
                                 : "none, auto, required or the name of a tool");
  } else if (!out.wanted) {
    const char* tools = out.legacy ? "functions" : "tools";
    fields.fail(bad_request("'" + std::string(key) + "' needs '" + tools + "'", std::string(key)));
  } else if (named != nullptr) {
    read_named(fields, key, *named, out);
  } else {
    out.choice = ToolUse::Choice::required;
  }
}

}  // namespace

void read_tools(JsonFields& fields, ChatInput& chat, ToolUse& out) {
  json::array tools = read_list(fields, "tools", false, out.names);
  const bool modern = !tools.empty();
  check_names(fields, "tools", out.names);
  std::vector<std::string> old_names;
  json::array functions = read_list(fields, "functions", true, old_names);
  check_names(fields, "functions", old_names);
  if (modern && !functions.empty())
    fields.fail(bad_request("'functions' and 'tools' exclude each other", "functions"));
  out.parallel = fields.flag("parallel_tool_calls", true);
  out.legacy = !functions.empty();
  if (out.legacy) {
    tools = std::move(functions);
    out.names = std::move(old_names);
    out.parallel = false;
  }
  out.wanted = !tools.empty();
  if (!out.legacy) read_choice(fields, "tool_choice", out);
  if (!modern) {
    ToolUse before = out;
    before.legacy = true;
    read_choice(fields, "function_call", before);
    before.legacy = out.legacy;
    out = std::move(before);
  }
  fields.ignore({"tool_choice", "function_call"});
  if (out.choice != ToolUse::Choice::automatic && chat.options.continue_final_message)
    fields.fail(bad_request("a call can not be required of a message that is continued",
                            out.legacy ? "function_call" : "tool_choice"));
  if (!out.wanted) return;
  chat.options.tools = json::serialize(tools);
  if (chat.options.tools.size() > kToolBytesMax)
    fields.wrong(out.legacy ? "functions" : "tools", "at most 1 MiB of JSON");
}

}  // namespace fathom
