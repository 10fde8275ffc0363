// What is sent for one question? Messages and tools as the file has them, the rest as the command
// line says.
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "cli/config_text.h"
#include "cli/eval_ask.h"

namespace fathom {

std::string eval_request(const EvalSettings& settings, const std::string& model,
                         const EvalQuestion& question) {
  std::string body = "{\"model\":" + boost::json::serialize(boost::json::value(model)) +
                     ",\"messages\":" + question.messages;
  if (!question.tools.empty()) body += ",\"tools\":" + question.tools;
  body += ",\"max_tokens\":" + std::to_string(settings.max_tokens) +
          ",\"temperature\":" + config_detail::scalar_text(settings.temperature);
  if (settings.seed) body += ",\"seed\":" + std::to_string(*settings.seed);
  if (settings.stream) body += ",\"stream\":true,\"stream_options\":{\"include_usage\":true}";
  return body + "}";
}

}  // namespace fathom
