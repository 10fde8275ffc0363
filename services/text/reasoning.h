// Which part of the output is thinking and which is the answer? A state machine over the decoded
// stream. While thinking, `</think>` is never shown, nor is a piece that may still become it; one
// newline after <think> and two after </think> are swallowed, and a repeated <think> is dropped.
// Text of the answer is never changed.
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
  // Feeds decoded text and appends what may be shown to `out`. How the text is cut into pushes
  // changes nothing.
  void push(std::string_view text, Parts& out);
  // The end of the output: what was held back was no marker.
  void flush(Parts& out);
  bool in_reasoning() const { return mode_ == Mode::reasoning; }

 private:
  enum class Mode { deciding, reasoning, content };
  bool decide(bool last, Parts& out);
  bool reason(bool last, Parts& out);
  void swallow_newlines();

  Mode mode_;
  std::string held_;  // not yet shown: may be part of a marker
  int newlines_to_swallow_ = 0;
};

}  // namespace fathom
