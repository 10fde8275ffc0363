#include "cli/eval_answers.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstdio>

namespace fathom {
namespace {

namespace json = boost::json;

std::string digest_text(uint64_t digest) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(digest));
  return text;
}

json::object line_of(const EvalOutcome& outcome) {
  const EvalQuestion& question = *outcome.question;
  json::object line = {{"task", question.task},
                       {"digest", digest_text(question.digest)},
                       {"question", question.shown}};
  if (!outcome.error.empty()) {
    line["error"] = outcome.error;
    return line;
  }
  json::array calls;
  for (const EvalCall& call : outcome.answer.calls)
    calls.push_back(json::object{{"name", call.name}, {"arguments", call.arguments}});
  const EvalUsage& usage = outcome.answer.usage;
  line["right"] = outcome.right;
  line["reasoning"] = outcome.answer.reasoning;
  line["content"] = outcome.answer.content;
  line["tool_calls"] = std::move(calls);
  line["finish_reason"] = outcome.answer.finish_reason;
  line["usage"] = {{"prompt_tokens", usage.prompt_tokens},
                   {"cached_tokens", usage.cached_tokens},
                   {"completion_tokens", usage.completion_tokens}};
  line["seconds"] = outcome.seconds;
  if (outcome.first_token_seconds) line["first_token_seconds"] = *outcome.first_token_seconds;
  return line;
}

Result<std::string> text_in(const json::object& object, std::string_view key,
                            const std::string& field) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return invalid("must be a string", field);
  return std::string(value->get_string());
}

Result<std::vector<EvalCall>> calls_in(const json::object& object) {
  const auto* list = object.if_contains("tool_calls");
  if (list == nullptr || !list->is_array()) return invalid("must be a list", "tool_calls");
  std::vector<EvalCall> calls;
  for (const json::value& entry : list->get_array()) {
    if (!entry.is_object()) return invalid("must hold objects", "tool_calls");
    EvalCall& call = calls.emplace_back();
    FATHOM_TRY(call.name, text_in(entry.get_object(), "name", "tool_calls.name"));
    FATHOM_TRY(call.arguments, text_in(entry.get_object(), "arguments", "tool_calls.arguments"));
  }
  return calls;
}

Result<KeptAnswer> read_kept(std::string_view line) {
  boost::system::error_code code;
  const json::value root = json::parse(line, code);
  const auto* object = code ? nullptr : root.if_object();
  if (object == nullptr) return invalid("is not a JSON object", {});
  KeptAnswer kept;
  FATHOM_TRY(kept.task, text_in(*object, "task", "task"));
  FATHOM_TRY(const std::string digest, text_in(*object, "digest", "digest"));
  const char* end = digest.data() + digest.size();
  if (const auto [at, wrong] = std::from_chars(digest.data(), end, kept.digest, 16);
      digest.empty() || at != end || wrong != std::errc())
    return invalid("must be a hexadecimal number", "digest");
  if (object->contains("error")) {
    FATHOM_TRY(kept.error, text_in(*object, "error", "error"));
    if (kept.error.empty()) return invalid("must not be empty", "error");
    return kept;
  }
  const auto* right = object->if_contains("right");
  if (right == nullptr || !right->is_bool()) return invalid("must be true or false", "right");
  kept.right = right->get_bool();
  FATHOM_TRY(kept.answer.reasoning, text_in(*object, "reasoning", "reasoning"));
  FATHOM_TRY(kept.answer.content, text_in(*object, "content", "content"));
  FATHOM_TRY(kept.answer.finish_reason, text_in(*object, "finish_reason", "finish_reason"));
  FATHOM_TRY(kept.answer.calls, calls_in(*object));
  return kept;
}

}  // namespace

std::string kept_answers_text(const std::vector<EvalOutcome>& outcomes) {
  std::string text;
  for (const EvalOutcome& outcome : outcomes) text += json::serialize(line_of(outcome)) + "\n";
  return text;
}

Result<std::vector<KeptAnswer>> parse_kept_answers(std::string_view text, const std::string& name) {
  std::vector<KeptAnswer> answers;
  int64_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto kept = read_kept(line);
    if (!kept.ok())
      return invalid("line " + std::to_string(number) + " of " + name + ": " +
                         (kept.error().field.empty() ? "" : kept.error().field + " ") +
                         kept.error().message,
                     kept.error().field);
    answers.push_back(std::move(kept).value());
  }
  if (answers.empty()) return invalid("there is no answer in " + name, "--against");
  return answers;
}

}  // namespace fathom
