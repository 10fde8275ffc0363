// Which part of the output is thinking and which is the answer? A state machine over the decoded stream.
// `</think>` is never shown, nor is a piece that may still become it; one newline after <think> and two after
// </think> are swallowed.
#pragma once

#include <string>
#include <string_view>

#include "text/chat_format.h"

namespace fathom {

class ReasoningParser {
 public:
  explicit ReasoningParser(ReasoningStart start);
  struct Parts {
    std::string reasoning, content;
  };
  // Feeds decoded text and appends what may be shown to `out`.
  void push(std::string_view text, Parts& out);
  void flush(Parts& out);
  bool in_reasoning() const;

 private:
  enum class Mode { deciding, reasoning, content };
  Mode mode_;
  std::string held_;
  int newlines_to_swallow_ = 0;
};

}  // namespace fathom
