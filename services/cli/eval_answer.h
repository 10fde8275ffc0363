// What did the server say? One chat answer, whole or gathered from its stream, in the OpenAI
// format: text, reasoning, tool calls, why it ended and what it cost. Bytes that are no such answer
// are an error, never an empty answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom {

struct EvalCall {
  std::string name;
  std::string arguments;  // JSON, as the model wrote it
  bool operator==(const EvalCall&) const = default;
};

struct EvalUsage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt
  int64_t completion_tokens = 0;
};

struct EvalAnswer {
  std::string reasoning;
  std::string content;
  std::vector<EvalCall> calls;
  std::string finish_reason;
  EvalUsage usage;
};

// The text that two answers share or not: all but the usage.
bool same_text(const EvalAnswer& a, const EvalAnswer& b);

class EvalAnswerReader {
 public:
  // One payload of the stream. True when it brought text or a piece of a tool call.
  bool event(std::string_view payload);
  // A whole answer's body.
  void whole(std::string_view body);
  // The answer; an error if one was told, if something was not JSON, or if it never ended.
  Result<EvalAnswer> take();

 private:
  EvalAnswer answer_;
  std::string error_;
  bool done_ = false;
};

// The message of an error answer: "400 message". Long ones are cut, a table wants few different
// lines.
std::string eval_error_text(int status, std::string_view body);

}  // namespace fathom
