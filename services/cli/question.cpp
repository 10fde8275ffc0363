#include "cli/question.h"

#include <boost/json/parse.hpp>

#include "cli/api_key.h"
#include "cli/config_text.h"
#include "cli/eval_answer.h"
#include "cli/event_stream.h"

namespace fathom {
namespace {

namespace json = boost::json;

const json::value* find(const json::value& root, const char* pointer) {
  boost::system::error_code code;
  return root.find_pointer(pointer, code);
}

std::string text_at(const json::value& root, const char* pointer) {
  const auto* value = find(root, pointer);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

json::value parsed(std::string_view text) {
  boost::system::error_code code;
  auto value = json::parse(text, code);
  return code ? json::value() : value;
}

}  // namespace

Result<std::string> served_model(const HttpAddress& gateway, const std::string& key) {
  const std::string where = gateway.host + ":" + gateway.port + gateway.prefix + "/v1/models";
  const auto answer = http_call(gateway, {.target = "/v1/models",
                                          .headers = request_headers(key),
                                          .body = {},
                                          .patience = Duration::seconds(10)});
  if (!answer.ok())
    return Error{answer.error().code, "no server answers: " + answer.error().message, where};
  if (answer->status != 200)
    return Error{Code::unavailable, eval_error_text(answer->status, answer->body), where};
  std::string id = text_at(parsed(answer->body), "/data/0/id");
  if (id.empty()) return Error{Code::unavailable, "names no model", where};
  return id;
}

Result<AnswerEnd> ask_question(const HttpAddress& gateway, const Question& question,
                               std::function<void(const std::string&)> piece) {
  AnswerEnd end;
  int status = 0;
  std::string body;
  std::string error;
  Status done;
  EventStream events;
  const auto on_event = [&](std::string_view payload) {
    const json::value event = parsed(payload);
    error += text_at(event, "/error/message");
    for (const char* key : {"/choices/0/delta/reasoning_content", "/choices/0/delta/content"})
      if (const std::string text = text_at(event, key); !text.empty()) piece(text);
    if (const auto reason = text_at(event, "/choices/0/finish_reason"); !reason.empty())
      end.finish_reason = reason;
    if (const auto* count = find(event, "/usage/completion_tokens");
        count != nullptr && count->is_int64())
      end.tokens = count->as_int64();
  };
  const auto client = make_http_client(gateway);
  client->send({.method = "POST",
                .target = "/v1/chat/completions",
                .headers = {{"content-type", "application/json"}},
                .body = "{\"model\":" + quoted_text(question.model) +
                        ",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                        "\"temperature\":0,\"max_tokens\":" +
                        std::to_string(question.tokens_max) +
                        ",\"messages\":[{\"role\":\"user\",\"content\":" +
                        quoted_text(question.text) + "}]}",
                .patience = Duration::seconds(120)},
               {.head = [&](const HttpHead& head) { status = head.status; },
                .body =
                    [&](std::string_view bytes) {
                      if (status == 200) {
                        events.add(bytes, on_event);
                      } else {
                        body += bytes;
                      }
                    },
                .done = [&](Status how) { done = std::move(how); }});
  client->run();
  if (!done.ok()) return done.error();
  if (status != 200) error = text_at(parsed(body), "/error/message");
  if (status != 200 || !error.empty()) return Error{Code::unknown, error, std::to_string(status)};
  return end;
}

}  // namespace fathom
