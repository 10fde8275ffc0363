// How many tokens should a decode row guess ahead? As many as make tokens come fastest by what was
// measured: how often a draft of each depth was right, and what a step costs with so many rows and
// so many drafts. The choice is looked over at every step and the other choices are tried now and
// then, so drafting ends by itself when drafts are poor or the batch makes them dear, and comes
// back when that changes. Deterministic: the same observations give the same choices. The tokens
// that are drawn never depend on them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"

namespace fathom {

// What a step with decode rows did.
struct SpeculatedStep {
  int32_t rows = 0;      // decode rows
  int32_t asked = 0;     // drafts a row, as chosen for this step
  int32_t verified = 0;  // drafts in it, of all rows
  // Nothing but decode rows ran, so its time says what they cost.
  bool pure = false;
  Duration took{0};
};

class Speculation {
 public:
  static constexpr int32_t kDraftsMax = 3;

  // drafts_max 0: never drafts.
  explicit Speculation(int32_t drafts_max) : drafts_max_(drafts_max) {}

  bool on() const { return drafts_max_ > 0; }
  // Drafts a row of the next step, verified in it and wanted from it. `alone`: no prompt shares the
  // step, so it may be used to try another choice.
  int32_t choose(int32_t rows, bool alone);
  // What decode rows ask of the drafter where choose() said `drafts`. Without drafts it still
  // follows the rows as long as it guesses well enough to be wanted again: that costs one layer of
  // the model.
  int32_t draft_next(int32_t drafts) const;
  // Of every row that verified drafts: how many, and how many of them were right.
  void observe_row(int32_t verified, int32_t right);
  void observe_step(const SpeculatedStep& step);

  // Tokens a row draws in a step of so many drafts, by the acceptance measured: 1 to drafts + 1.
  double tokens_per_row(int32_t drafts) const;
  // Chance that the first draft is right.
  double acceptance() const { return depths_[0].right / depths_[0].tried; }

 private:
  // Sums that forget, from an optimistic start: a drafter is trusted until it was tried.
  struct Depth {
    double tried = 4, right = 3;
  };
  struct Cost {
    double seconds = 0;
    int32_t samples = 0;
    bool tried = false;
  };
  // Of batches of about one size.
  struct Class {
    std::array<Cost, kDraftsMax + 1> cost;  // by drafts
    int32_t chosen = 0;
    int32_t trying = -1;     // the choice on trial
    int32_t steps_left = 0;  // of the trial
    int32_t next_trial = 0;  // steps until the next one
    int32_t pause = 0;       // between trials; doubles while they change nothing
    int32_t turn = 0;        // which choice is tried next
  };

  static size_t class_of(int32_t rows);
  Class& batch_class(int32_t rows);
  bool known(const Class& c, int32_t drafts) const;
  int32_t best(const Class& c) const;
  int32_t next_candidate(Class& c) const;
  void settle(Class& c);

  int32_t drafts_max_;
  std::array<Depth, kDraftsMax> depths_;
  std::vector<Class> classes_;
};

}  // namespace fathom
