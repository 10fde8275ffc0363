// How well did it answer? The outcomes added up by task, by topic and in all; what was demanded of
// them; and the exit code that follows. Shown as a table for people and as one JSON object for the
// next program (docs/quality.md has its fields).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/bench_report.h"
#include "cli/eval_ask.h"
#include "cli/eval_compare.h"
#include "cli/eval_statistics.h"

namespace fathom {

// Answers that were right, of those that were given. A question without an answer is in neither.
struct EvalTally {
  std::string name;
  int64_t right = 0;
  int64_t answered = 0;
  int64_t failed = 0;
  double accuracy() const;
  Interval interval() const { return wilson_interval(right, answered); }
};

// "95", or "recall=95": percent that a topic, a task or everything must reach.
struct EvalThreshold {
  std::string name;  // empty: everything
  double percent = 0;
};
Result<EvalThreshold> parse_eval_threshold(const std::string& text);

struct EvalVerdict {
  EvalThreshold threshold;
  EvalTally tally;
  bool met = false;  // never when there was no answer
};

struct EvalReport {
  std::string url;
  std::string model;
  std::string questions;  // the file, or "built in"
  EvalSettings settings;
  int64_t chosen = 0;  // questions to ask; more than ended when it was cut short
  bool interrupted = false;
  std::string given_up;
  double seconds = 0;
  int64_t retried = 0;  // requests that had to be sent again after 429
  EvalTally total;
  std::vector<EvalTally> topics;  // in the order of eval_topics(), then as the file has them
  std::vector<EvalTally> tasks;   // as the file has them
  std::map<std::string, int64_t> errors;          // message to questions
  std::map<std::string, int64_t> finish_reasons;  // to answers
  EvalUsage usage;
  Samples first_token;  // seconds; of streams
  std::vector<EvalOutcome> wrong;
  std::vector<EvalVerdict> verdicts;
  std::string against;  // the file compared with; empty: none
  std::optional<EvalComparison> comparison;
  bool same_text_demanded = false;
};

EvalReport make_eval_report(const EvalSettings& settings, const EvalRun& run,
                            const std::vector<EvalQuestion>& questions);

// Judges the thresholds. INVALID_ARGUMENT naming --at-least for a name that no question has: asked
// before the questions, with a report of none of them.
Status judge_eval(EvalReport& report, const std::vector<EvalThreshold>& thresholds);

// 130: interrupted. 1: a threshold was missed, or a text differs where the same was demanded. 2: a
// question got no answer, or there was nothing to compare. 0: none of these.
int eval_exit_code(const EvalReport& report);

// The text for people, with `show` wrong answers and as many differences.
std::string eval_table(const EvalReport& report, size_t show);
std::string eval_json(const EvalReport& report, size_t show);
// What --json prints when nothing could be asked.
std::string eval_json(const Error& error);

}  // namespace fathom
