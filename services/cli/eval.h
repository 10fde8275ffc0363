// What does `fathom eval` do, once its words are understood? Reads the questions, asks them, keeps
// and compares the answers, prints one result and says by its exit code what came out.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/eval_report.h"

namespace fathom {

struct EvalOptions {
  EvalSettings settings;
  std::string questions_file;  // empty: those in the executable
  std::string key_file;        // its first line is the key
  std::vector<std::string> tasks;
  int64_t per_task = 0;  // 0: all
  std::vector<std::string> at_least;
  std::string answers_file;  // written; empty: none
  std::string against_file;  // read; empty: none
  bool same_text = false;
  bool json = false;
  int64_t show = 5;
};

struct EvalStreams {
  std::ostream& out;    // the result
  std::ostream& error;  // progress and errors
  bool terminal = false;
};

// The exit code: see eval_exit_code; 2 when nothing could be asked.
int run_eval(const EvalOptions& options, const EvalStreams& streams, const Clock& clock,
             const std::function<bool()>& interrupted);

}  // namespace fathom
