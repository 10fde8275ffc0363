// Do two configurations answer alike? The answers of this run against those of an earlier one,
// question by question: how many texts are the same to the last character, where the others part,
// and whether one of the two is right more often than chance explains.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/eval_answers.h"
#include "cli/eval_ask.h"
#include "cli/eval_statistics.h"

namespace fathom {

struct EvalDifference {
  std::string task;
  std::string question;
  std::string part;      // reasoning, content, tool_calls or finish_reason
  size_t character = 0;  // of the part, where the two differ first
  std::string now;       // what stands there
  std::string earlier;
};

struct EvalComparison {
  int64_t pairs = 0;  // answered both times
  int64_t same = 0;   // of these, equal in reasoning, content, tool calls and finish reason
  int64_t right_now = 0;
  int64_t right_earlier = 0;
  int64_t lost = 0;          // right only earlier
  int64_t gained = 0;        // right only now
  int64_t only_now = 0;      // not asked, or not answered, earlier
  int64_t only_earlier = 0;  // not asked, or not answered, now
  PairedDifference accuracy;
  std::vector<EvalDifference> differences;  // one a pair that is not the same
};

EvalComparison compare_answers(const std::vector<EvalOutcome>& now,
                               const std::vector<KeptAnswer>& earlier);

}  // namespace fathom
