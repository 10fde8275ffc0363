#include "cli/eval_answer.h"

#include <boost/json/parse.hpp>

#include "cli/eval_text.h"

namespace fathom {
namespace {

namespace json = boost::json;

constexpr size_t kMessageMax = 160;
constexpr size_t kCallsMax = 1024;

json::value parsed(std::string_view text) {
  boost::system::error_code code;
  json::value value = json::parse(text, code, {}, {.max_depth = 64});
  return code ? json::value() : value;
}

const json::value* find(const json::value& root, const char* pointer) {
  boost::system::error_code code;
  return root.find_pointer(pointer, code);
}

std::string text_at(const json::value& root, const char* pointer) {
  const auto* value = find(root, pointer);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

int64_t count_at(const json::value& root, const char* pointer) {
  const auto* value = find(root, pointer);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

void read_usage(const json::value& root, EvalUsage& usage) {
  const auto* found = find(root, "/usage");
  if (found == nullptr || !found->is_object()) return;
  usage = {.prompt_tokens = count_at(root, "/usage/prompt_tokens"),
           .cached_tokens = count_at(root, "/usage/prompt_tokens_details/cached_tokens"),
           .completion_tokens = count_at(root, "/usage/completion_tokens")};
}

// Other servers name the thought `reasoning`.
std::string reasoning_in(const json::value& message) {
  std::string text = text_at(message, "/reasoning_content");
  return text.empty() ? text_at(message, "/reasoning") : text;
}

std::string error_in(const json::value& root) {
  const auto* error = find(root, "/error");
  if (error == nullptr || error->is_null()) return {};
  const std::string message = text_at(root, "/error/message");
  return message.empty() ? "an error without a message" : message;
}

// A call comes whole, or in pieces that bear its index.
bool add_calls(const json::value& message, std::vector<EvalCall>& calls) {
  const auto* list = find(message, "/tool_calls");
  if (list == nullptr || !list->is_array()) return false;
  for (size_t i = 0; i < list->get_array().size(); ++i) {
    const json::value& piece = list->get_array()[i];
    const auto* told = find(piece, "/index");
    const auto index =
        told != nullptr && told->is_int64() ? told->get_int64() : static_cast<int64_t>(i);
    if (index < 0 || static_cast<size_t>(index) >= kCallsMax) continue;
    if (calls.size() <= static_cast<size_t>(index)) calls.resize(static_cast<size_t>(index) + 1);
    EvalCall& call = calls[static_cast<size_t>(index)];
    call.name += text_at(piece, "/function/name");
    call.arguments += text_at(piece, "/function/arguments");
  }
  return !list->get_array().empty();
}

}  // namespace

bool same_text(const EvalAnswer& a, const EvalAnswer& b) {
  return a.reasoning == b.reasoning && a.content == b.content && a.calls == b.calls &&
         a.finish_reason == b.finish_reason;
}

bool EvalAnswerReader::event(std::string_view payload) {
  if (payload == "[DONE]") {
    done_ = true;
    return false;
  }
  const json::value root = parsed(payload);
  if (!root.is_object()) {
    error_ = "an event is not JSON";
    return false;
  }
  if (std::string error = error_in(root); !error.empty()) error_ = std::move(error);
  read_usage(root, answer_.usage);
  if (const auto reason = text_at(root, "/choices/0/finish_reason"); !reason.empty())
    answer_.finish_reason = reason;
  const auto* delta = find(root, "/choices/0/delta");
  if (delta == nullptr) return false;
  const std::string reasoning = reasoning_in(*delta);
  const std::string content = text_at(*delta, "/content");
  answer_.reasoning += reasoning;
  answer_.content += content;
  const bool called = add_calls(*delta, answer_.calls);
  return called || !reasoning.empty() || !content.empty();
}

void EvalAnswerReader::whole(std::string_view body) {
  const json::value root = parsed(body);
  error_ = error_in(root);
  read_usage(root, answer_.usage);
  answer_.finish_reason = text_at(root, "/choices/0/finish_reason");
  const auto* message = find(root, "/choices/0/message");
  if (message == nullptr || !message->is_object()) {
    if (error_.empty()) error_ = "the answer is not a chat completion";
    return;
  }
  answer_.reasoning = reasoning_in(*message);
  answer_.content = text_at(*message, "/content");
  add_calls(*message, answer_.calls);
  done_ = true;
}

Result<EvalAnswer> EvalAnswerReader::take() {
  if (!error_.empty()) return Error{Code::unknown, shortened(error_, kMessageMax), {}};
  if (!done_) return Error{Code::unavailable, "the answer ended before its end", {}};
  if (answer_.finish_reason.empty())
    return Error{Code::unknown, "the answer has no finish_reason", {}};
  return std::move(answer_);
}

std::string eval_error_text(int status, std::string_view body) {
  const json::value root = parsed(body);
  std::string message = error_in(root);
  if (message.empty()) message = body.empty() ? "no message" : "not an error message in JSON";
  return std::to_string(status) + " " + shortened(message, kMessageMax);
}

}  // namespace fathom
