// How many tokens of a prompt may share a step with rows that decode? As many as keep the step
// within its target by what such steps took before: a token of the 1.1 B model takes 0.7 ms on two
// cores with AMX and 7 with AVX2, so no fixed number is smooth on both. Two floors keep prompts
// going where the target alone would starve them. A chunk has at least two tokens for each decoding
// row: prompts get about half of the machine. And where attention expands all that came before a
// chunk, an eighth as many tokens as stand there: else expanding would cost more than the prompt.
// Deterministic: the same observations give the same answers. What is drawn never depends on it.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace fathom {

// A step that computed prompts.
struct PromptStep {
  int32_t prompt_tokens = 0;
  int32_t decode_rows = 0;
  Duration took{0};
};

class Pace {
 public:
  static constexpr int32_t kTokensMin = 16;

  // `target` 0: no bound. `expands`: chunks expand what is behind them (EngineInfo,
  // expanded_prompt_min).
  Pace(Duration target, bool expands) : target_(target), expands_(expands) {}

  // Most prompt tokens of a step beside `decode_rows` > 0 rows, where the prompt that is next has
  // `behind` tokens computed. Unbounded until a step was observed.
  int32_t prompt_tokens_max(int32_t decode_rows, int32_t behind) const;
  void observe(const PromptStep& step);

 private:
  double tokens_of_target() const;

  Duration target_;
  bool expands_;
  // What a prompt token costs with everything else of its step: beside decoding rows, and, until
  // there was such a step, alone.
  double seconds_ = 0;
  bool mixed_ = false;
};

}  // namespace fathom
