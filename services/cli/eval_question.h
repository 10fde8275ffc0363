// What does `fathom eval` ask? Questions from a file of JSON lines, each with the one way in which
// its answer is checked:
//   {"task", "topic"?, "messages", "tools"?, "check": {"kind", "want"}}
// Messages and tools go to the server as they stand in the file. A file that is not like this is
// refused with the number of its line and the name of the field.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom {

enum class EvalCheckKind : uint8_t {
  number,    // the last number of the answer equals
  contains,  // the answer contains, whatever the case of letters
  exact,     // the answer is
  json,      // the answer is JSON and equals
  call,      // the one tool call has this name and these arguments
};

struct EvalCheck {
  EvalCheckKind kind = EvalCheckKind::exact;
  double number = 0;         // of `number`
  std::string text;          // of `contains` and `exact`; the tool's name of `call`
  boost::json::value value;  // of `json`; the arguments of `call`
};

struct EvalQuestion {
  std::string task;
  std::string topic;     // one of eval_topics(), or what the file says
  std::string messages;  // a JSON array
  std::string tools;     // a JSON array, or empty
  std::string shown;     // the last message, for people
  std::string want;      // what is right, for people
  EvalCheck check;
  uint64_t digest = 0;  // of all that is asked and wanted: the same in every file that asks it
};

// INVALID_ARGUMENT, "line 3 of NAME: ..." and the field, for what is not a question.
Result<std::vector<EvalQuestion>> parse_eval_questions(std::string_view text,
                                                       const std::string& name);

// Of these tasks or topics (none: of all), the first `per_task` of each task (0: all).
// INVALID_ARGUMENT naming --task for one that no question has.
Result<std::vector<EvalQuestion>> choose_eval_questions(std::vector<EvalQuestion> questions,
                                                        const std::vector<std::string>& tasks,
                                                        int64_t per_task);

}  // namespace fathom
