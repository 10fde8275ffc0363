// How are the questions asked? Through /v1/chat/completions, so many at once, each answer checked
// when it is complete. A question for which there is no room (429) is asked again, not before the
// server said. One that gets no answer keeps the reason and is never right. What would refuse every
// question alike (an unknown model, a wrong key, a server that is gone) ends the asking.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cli/eval_answer.h"
#include "cli/eval_question.h"

namespace fathom {

struct EvalSettings {
  std::string url = "http://127.0.0.1:8000";
  std::string model;  // empty: the first of /v1/models
  std::string key;    // empty: no Authorization header
  int32_t concurrency = 8;
  int32_t max_tokens = 300;
  double temperature = 0;
  std::optional<uint64_t> seed;
  bool stream = true;
  double patience_seconds = 600;  // for one answer, and for all tries of a question
  int32_t retries = 10;           // of one question after 429
  double retry_seconds = 1;       // before the first retry at least; doubles up to 30 times that
};

struct EvalOutcome {
  const EvalQuestion* question = nullptr;
  std::string error;  // empty: answered
  bool right = false;
  EvalAnswer answer;
  double seconds = 0;
  std::optional<double> first_token_seconds;  // of a stream
};

struct EvalProgress {
  int64_t questions = 0;
  int64_t ended = 0;  // answered or failed
  int64_t right = 0;
  int64_t failed = 0;
  int64_t retried = 0;  // requests that had to be sent again
  int64_t tokens = 0;
  double seconds = 0;
};

// Both are called on the calling thread, several times a second.
struct EvalWatch {
  std::function<void(const EvalProgress&)> progress;
  std::function<bool()> interrupted;
};

struct EvalRun {
  std::string model;
  std::vector<EvalOutcome> outcomes;  // of what ended, in the order of the questions
  double seconds = 0;
  int64_t retried = 0;  // requests that had to be sent again
  bool interrupted = false;
  std::string given_up;  // why the rest was not asked; empty: nothing was given up
};

// An error: nothing could be asked. `questions` outlive the result.
Result<EvalRun> ask_questions(const EvalSettings& settings, std::span<const EvalQuestion> questions,
                              const EvalWatch& watch, const Clock& clock);

// The body of the request for one question.
std::string eval_request(const EvalSettings& settings, const std::string& model,
                         const EvalQuestion& question);

}  // namespace fathom
