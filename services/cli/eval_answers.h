// How are answers kept, to be compared with another configuration's? As JSON lines, one a question:
//   {"task", "digest", "question", "right", "reasoning", "content", "tool_calls", "finish_reason",
//    "usage", "seconds", "first_token_seconds"?}        or with "error" in place of the answer
// The digest says which question it was, so the two files may ask different sets in any order.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/eval_ask.h"

namespace fathom {

struct KeptAnswer {
  std::string task;
  uint64_t digest = 0;
  std::string error;  // empty: answered
  bool right = false;
  EvalAnswer answer;
};

std::string kept_answers_text(const std::vector<EvalOutcome>& outcomes);

// INVALID_ARGUMENT, "line 3 of NAME: ..." and the field, for what was not written by that.
Result<std::vector<KeptAnswer>> parse_kept_answers(std::string_view text, const std::string& name);

}  // namespace fathom
