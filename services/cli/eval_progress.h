// How far is `fathom eval`? A bar on standard error that is overwritten where that is a terminal;
// elsewhere a plain line at every tenth of the questions. Standard output stays with the result.
#pragma once

#include <iosfwd>
#include <string>

#include "cli/eval_ask.h"

namespace fathom {

// "[######......] 120 of 455, 118 right, 0 failed, 1310 tokens/s, 34 s left"
std::string eval_progress_text(const EvalProgress& progress, int bar_width);

class EvalProgressLine {
 public:
  EvalProgressLine(std::ostream& out, bool terminal) : out_(out), terminal_(terminal) {}
  ~EvalProgressLine();  // leaves an empty line on a terminal
  void show(const EvalProgress& progress);

 private:
  std::ostream& out_;
  bool terminal_;
  bool shown_ = false;
  int64_t tenths_ = 0;  // that were shown
};

}  // namespace fathom
