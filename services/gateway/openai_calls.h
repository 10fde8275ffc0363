// How does a tool call look in an OpenAI answer? In a stream a first piece with id and name, then
// pieces of its arguments; in a whole answer all of it. With `functions` it is a `function_call`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/choice_text.h"

namespace fathom {

struct FinishedCall {
  std::string name, arguments;
};

// Adds what a step tells of calls.
void gather(const std::vector<CallDelta>& deltas, std::vector<FinishedCall>& calls);

// Unique among all answers: made of the answer's id, the choice and the place in it.
std::string call_id(std::string_view answer_id, int choice, int call);

// "tool_calls":[...] or "function_call":{...}, a member of a delta or of a message. Without calls
// nothing.
void append_call(std::string& out, std::string_view id, const CallDelta& delta, bool legacy);
void append_calls(std::string& out, std::string_view answer_id, int choice,
                  const std::vector<FinishedCall>& calls, bool legacy);

}  // namespace fathom
