#include "cli/probe.h"

#include <boost/json/parse.hpp>
#include <charconv>

#include "net/http_client.h"

namespace fathom {
namespace {

Result<HttpAnswer> ask(uint16_t port, const char* target) {
  return http_call({.host = "127.0.0.1", .port = std::to_string(port), .prefix = {}},
                   {.target = target, .patience = Duration::ms(1000)});
}

}  // namespace

std::string not_ready(uint16_t port) {
  const auto answer = ask(port, "/health/ready");
  if (!answer.ok()) return "not listening yet";
  if (answer->status == 200) return {};
  boost::system::error_code code;
  const auto root = boost::json::parse(answer->body, code);
  const auto* message = code ? nullptr : root.find_pointer("/reason", code);
  return message != nullptr && message->is_string() ? std::string(message->as_string())
                                                    : "answers " + std::to_string(answer->status);
}

std::optional<double> read_metric(uint16_t port, const std::string& name) {
  const auto answer = ask(port, "/metrics");
  if (!answer.ok()) return std::nullopt;
  return metric_in(answer->body, name);
}

std::optional<double> metric_in(const std::string& text, const std::string& name) {
  const std::string lines = "\n" + text;
  size_t at = lines.find("\n" + name + " ");
  if (at == std::string::npos) at = lines.find("\n" + name + "{");
  if (at == std::string::npos) return std::nullopt;
  const size_t space = text.find(' ', at);  // no label of ours holds one
  if (space == std::string::npos) return std::nullopt;
  const char* number = text.data() + space + 1;
  double value = 0;
  const auto [end, code] = std::from_chars(number, text.data() + text.size(), value);
  return code == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace fathom
