// How does an answer reach a client? A generation tells its steps to one Answer; each surface
// renders them its own way, and none of them knows where tokens come from. Calls come on one loop,
// in this order: begin, then prompt_scored / step / end per choice, then exactly one of complete
// and fail.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gateway/api_error.h"
#include "gateway/choice_text.h"
#include "gateway/request.h"

namespace fathom {

// What every rendering repeats.
struct AnswerHead {
  std::string id;           // "chatcmpl-..." or "cmpl-..."
  int64_t created = 0;      // unix seconds
  std::string fingerprint;  // build and weights
};

class Answer {
 public:
  virtual ~Answer() = default;
  // The answer is certain to be a success so far, or has to show signs of life: status and headers
  // go out.
  virtual void begin() = 0;
  virtual void keep_alive() = 0;
  // Log-probabilities of prompt tokens 1.., complete.
  virtual void prompt_scored(int choice, std::vector<TokenLogprob> scores) = 0;
  virtual void step(int choice, const Delta& delta) = 0;
  virtual void end(int choice, Ending why) = 0;
  virtual void complete(const UsageCount& usage) = 0;
  virtual void fail(const ApiError& error) = 0;
};

}  // namespace fathom
