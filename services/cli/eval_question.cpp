#include "cli/eval_question.h"

#include <xxhash.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "cli/eval_topics.h"

namespace fathom {
namespace {

namespace json = boost::json;

constexpr size_t kDepthMax = 64;
constexpr std::string_view kKinds[] = {"number", "contains", "exact", "json", "call"};

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

const json::string* string_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_string();
}

// "12", "-3.5" or the number itself; nothing that Python's float() would not take.
std::optional<double> number_of(const json::value& want) {
  boost::system::error_code code;
  if (want.is_number()) return want.to_number<double>(code);
  const auto* text = want.if_string();
  if (text == nullptr || text->empty()) return std::nullopt;
  double number = 0;
  const char* end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, number);
  if (at != end || error != std::errc() || !std::isfinite(number)) return std::nullopt;
  return number;
}

Status known_fields(const json::object& object, std::initializer_list<std::string_view> known,
                    const std::string& prefix) {
  for (const auto& member : object)
    if (std::ranges::find(known, std::string_view(member.key())) == known.end())
      return invalid("is no field of a question", prefix + std::string(member.key()));
  return {};
}

Result<EvalCheck> read_call(const json::value& want) {
  const auto* object = want.if_object();
  const auto* name = object == nullptr ? nullptr : string_at(*object, "name");
  const auto* arguments = object == nullptr ? nullptr : object->if_contains("arguments");
  if (name == nullptr) return invalid("must be an object with the name of a tool", "check.want");
  if (arguments == nullptr || !arguments->is_object())
    return invalid("must be an object", "check.want.arguments");
  return EvalCheck{.kind = EvalCheckKind::call, .text = std::string(*name), .value = *arguments};
}

Result<EvalCheck> read_check(const json::value* check) {
  if (check == nullptr || !check->is_object()) return invalid("must be an object", "check");
  const json::object& object = check->get_object();
  FATHOM_CHECKED(known_fields(object, {"kind", "want"}, "check."));
  const auto* word = string_at(object, "kind");
  const auto* kind = word == nullptr ? std::end(kKinds) : std::ranges::find(kKinds, view(*word));
  if (kind == std::end(kKinds))
    return invalid("must be number, contains, exact, json or call", "check.kind");
  const auto* want = object.if_contains("want");
  if (want == nullptr) return invalid("is missing", "check.want");
  EvalCheck result{.kind = static_cast<EvalCheckKind>(kind - kKinds), .text = {}, .value = {}};
  switch (result.kind) {
    case EvalCheckKind::call:
      return read_call(*want);
    case EvalCheckKind::json:
      result.value = *want;
      return result;
    case EvalCheckKind::number:
      if (const auto number = number_of(*want)) {
        result.number = *number;
        return result;
      }
      return invalid("must be a number", "check.want");
    default:
      if (!want->is_string()) return invalid("must be a string", "check.want");
      result.text = want->get_string();
      return result;
  }
}

Status check_messages(const json::value* messages) {
  const auto* list = messages == nullptr ? nullptr : messages->if_array();
  if (list == nullptr || list->empty())
    return invalid("must be a list of at least one message", "messages");
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string field = "messages[" + std::to_string(i) + "]";
    const auto* message = (*list)[i].if_object();
    if (message == nullptr) return invalid("must be an object", field);
    if (string_at(*message, "role") == nullptr) return invalid("must be a string", field + ".role");
  }
  return {};
}

Result<EvalQuestion> read_question(std::string_view line) {
  boost::system::error_code code;
  json::value root = json::parse(line, code, {}, {.max_depth = kDepthMax});
  const auto* object = code ? nullptr : root.if_object();
  if (object == nullptr) return invalid("is not a JSON object", {});
  FATHOM_CHECKED(known_fields(*object, {"task", "topic", "messages", "tools", "check"}, {}));
  EvalQuestion question;
  const auto* task = string_at(*object, "task");
  if (task == nullptr || task->empty()) return invalid("must be a word", "task");
  question.task = *task;
  question.topic = topic_of_task(question.task);
  if (object->contains("topic")) {
    const auto* topic = string_at(*object, "topic");
    if (topic == nullptr || topic->empty()) return invalid("must be a word", "topic");
    question.topic = *topic;
  }
  const auto* messages = object->if_contains("messages");
  FATHOM_CHECKED(check_messages(messages));
  question.messages = json::serialize(*messages);
  if (const auto* text = string_at(messages->get_array().back().get_object(), "content"))
    question.shown = *text;
  if (const auto* tools = object->if_contains("tools")) {
    if (!tools->is_array() || tools->get_array().empty())
      return invalid("must be a list of at least one tool", "tools");
    question.tools = json::serialize(*tools);
  }
  FATHOM_TRY(question.check, read_check(object->if_contains("check")));
  const json::value& want = object->at("check").at("want");
  question.want = want.is_string() ? std::string(want.get_string()) : json::serialize(want);
  const std::string whole = question.task + "\n" + question.messages + "\n" + question.tools +
                            "\n" + json::serialize(object->at("check"));
  question.digest = XXH3_64bits(whole.data(), whole.size());
  return question;
}

}  // namespace

Result<std::vector<EvalQuestion>> parse_eval_questions(std::string_view text,
                                                       const std::string& name) {
  std::vector<EvalQuestion> questions;
  int64_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto question = read_question(line);
    if (!question.ok())
      return invalid("line " + std::to_string(number) + " of " + name + ": " +
                         (question.error().field.empty() ? "" : question.error().field + " ") +
                         question.error().message,
                     question.error().field);
    questions.push_back(std::move(question).value());
  }
  if (questions.empty()) return invalid("there is no question in " + name, "--questions");
  return questions;
}

Result<std::vector<EvalQuestion>> choose_eval_questions(std::vector<EvalQuestion> questions,
                                                        const std::vector<std::string>& tasks,
                                                        int64_t per_task) {
  for (const auto& word : tasks)
    if (std::ranges::none_of(questions, [&](const EvalQuestion& q) {
          return q.task == word || names_topic(word, q.topic);
        }))
      return invalid("no question has the task or topic " + word, "--task");
  std::map<std::string, int64_t> taken;
  std::vector<EvalQuestion> chosen;
  for (auto& question : questions) {
    const bool wanted = tasks.empty() || std::ranges::any_of(tasks, [&](const std::string& word) {
                          return question.task == word || names_topic(word, question.topic);
                        });
    if (!wanted || (per_task > 0 && ++taken[question.task] > per_task)) continue;
    chosen.push_back(std::move(question));
  }
  return chosen;
}

}  // namespace fathom
