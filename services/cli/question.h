// Does it answer? One chat question through the public API, its answer handed over as it streams.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "net/http_client.h"

namespace fathom {

struct AnswerEnd {
  std::string finish_reason;
  int64_t tokens = 0;
};

// The first model of /v1/models, asked with this key unless it is empty. UNAVAILABLE or
// DEADLINE_EXCEEDED with what the server said, naming where.
Result<std::string> served_model(const HttpAddress& gateway, const std::string& key);

struct Question {
  std::string model;
  std::string text;
  int32_t tokens_max = 48;
};

Result<AnswerEnd> ask_question(const HttpAddress& gateway, const Question& question,
                               std::function<void(const std::string&)> piece);

}  // namespace fathom
