// How do a step's logits become its tokens? Each row of logits was asked for to draw the next
// token, to score a given one, or both. On a GPU all rows of a tile are drawn in one call, each as
// if the drafts before it were right; those behind a wrong draft are dropped. On the host they are
// drawn one by one, and none in vain. Where nothing but plain draws is wanted they are begun, and
// waited for when the step is finished; the next step can go on from them before that.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/drafting.h"
#include "engine/engine.h"
#include "kernels/batch_sampler.h"

namespace fathom {

// Why a row of logits was asked for.
struct LogitUse {
  size_t row = 0;       // of the plan
  size_t sequence = 0;  // of the step: the row's place among those that run
  size_t token = 0;     // index into its tokens
  bool sample = false;  // draw the next token
  TokenId target = -1;  // score this one, unless negative
};

class StepSampling {
 public:
  using Tap = std::function<void(int32_t row, int32_t position, std::span<const float> logits)>;

  // `tap`, in tests, sees every row in host memory.
  StepSampling(Tap tap, ModelRanks& ranks, Drafting& drafting);
  // `logits` has a row for each of `uses`, on the device of rank 0. An error is the group's.
  Status use(const Plan& plan, std::span<const LogitUse> uses, std::span<const float> logits,
             StepResult& result);

  // Of a step without targets and drafts: its draws are begun in parts. `uses` of the whole step;
  // `logits` has a row for those from `first` on. Its tokens come to lie on the device of rank 0
  // (ModelRanks::drawn), in the order of its uses.
  void begin_step();
  void begin(const Plan& plan, std::span<const LogitUse> uses, size_t first,
             std::span<const float> logits);
  // Waits for the step begun first of those that are not finished.
  Status finish(StepResult& result);

 private:
  // What must be known of a draw when it is done.
  struct Drawing {
    size_t row = 0;  // of the plan
    bool logprobs = false;
  };
  struct Begun {
    std::vector<Drawing> draws;
    int32_t parts = 0;
  };
  void draw(const Plan& plan, std::span<const LogitUse> uses, std::span<const float> logits,
            StepResult& result);
  void show(const Plan& plan, const LogitUse& u, std::span<const float> logits);

  Tap tap_;
  ModelRanks& ranks_;
  Device& device_;
  Drafting& drafting_;
  std::unique_ptr<BatchSampler> sampler_;
  std::deque<Begun> begun_;  // and not finished
  // Reused from step to step.
  std::vector<SampleInput> draws_;
  std::vector<ScoreInput> scores_;
  std::vector<std::vector<TokenCount>> counts_;
  std::vector<float> shown_;
};

}  // namespace fathom
