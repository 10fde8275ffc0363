#include "worker/speculation.h"

#include <algorithm>
#include <bit>

namespace fathom {
namespace {

// Rows verified after which an old one counts 1/e.
constexpr double kMemory = 128;
// Measured steps of one trial, and steps it may take in all: the first has no drafts to verify yet.
constexpr int32_t kSamplesWanted = 3, kTrialSteps = 6;
// Steps between trials. At 64 a trial that runs at half speed costs 5 %, at 4096 a thousandth.
constexpr int32_t kPauseMin = 64, kPauseMax = 4096;
// Another choice must promise so much more, else noise would swing it to and fro.
constexpr double kBetter = 1.02;
// A drafter worse than this is left alone while it is off: it will hardly be wanted again.
constexpr double kWorthFollowing = 0.3;

}  // namespace

size_t Speculation::class_of(int32_t rows) {
  return static_cast<size_t>(std::bit_width(static_cast<uint32_t>(std::max(rows, 1))) - 1);
}

Speculation::Class& Speculation::batch_class(int32_t rows) {
  const size_t i = class_of(rows);
  if (classes_.size() <= i) classes_.resize(i + 1);
  return classes_[i];
}

bool Speculation::known(const Class& c, int32_t drafts) const {
  return c.cost[static_cast<size_t>(drafts)].samples >= kSamplesWanted;
}

double Speculation::tokens_per_row(int32_t drafts) const {
  double tokens = 1, all_right = 1;
  for (int32_t i = 0; i < drafts; ++i) {
    const Depth& d = depths_[static_cast<size_t>(i)];
    all_right *= d.right / d.tried;
    tokens += all_right;
  }
  return tokens;
}

// The choice that draws most tokens a second, of those whose cost is known; no drafts if none is.
int32_t Speculation::best(const Class& c) const {
  const auto rate = [&](int32_t drafts) {
    return tokens_per_row(drafts) / c.cost[static_cast<size_t>(drafts)].seconds;
  };
  int32_t found = known(c, c.chosen) ? c.chosen : -1;
  const double bar = found >= 0 ? kBetter * rate(found) : 0;
  double most = bar;
  for (int32_t drafts = 0; drafts <= drafts_max_; ++drafts) {
    if (drafts == c.chosen || !known(c, drafts) || rate(drafts) <= most) continue;
    most = rate(drafts);
    found = drafts;
  }
  return std::max(found, 0);
}

// What was never measured first, then the others in turn.
int32_t Speculation::next_candidate(Class& c) const {
  for (int32_t drafts = drafts_max_; drafts >= 0; --drafts)
    if (!c.cost[static_cast<size_t>(drafts)].tried) return drafts;
  c.turn = (c.turn + 1) % (drafts_max_ + 1);
  if (c.turn == c.chosen) c.turn = (c.turn + 1) % (drafts_max_ + 1);
  return c.turn;
}

// Ends a trial: takes the best, and tries again soon if that is news.
void Speculation::settle(Class& c) {
  const int32_t before = c.chosen;
  c.trying = -1;
  c.chosen = best(c);
  const bool complete = std::ranges::all_of(c.cost.begin(), c.cost.begin() + drafts_max_ + 1,
                                            [](const Cost& x) { return x.tried; });
  c.pause =
      c.chosen != before || !complete ? kPauseMin : std::clamp(2 * c.pause, kPauseMin, kPauseMax);
  c.next_trial = complete ? c.pause : 0;
}

int32_t Speculation::choose(int32_t rows, bool alone) {
  if (!on() || rows == 0) return 0;
  Class& c = batch_class(rows);
  if (!alone) return c.chosen;
  if (c.trying >= 0) {
    if (c.steps_left-- > 0) return c.trying;
    settle(c);
  }
  if (c.next_trial-- <= 0) {
    c.trying = next_candidate(c);
    c.cost[static_cast<size_t>(c.trying)].tried = true;
    c.steps_left = kTrialSteps - 1;
    return c.trying;
  }
  c.chosen = best(c);
  return c.chosen;
}

int32_t Speculation::draft_next(int32_t drafts) const {
  if (!on()) return kNoDrafting;
  return drafts > 0 || acceptance() >= kWorthFollowing ? drafts : kNoDrafting;
}

void Speculation::observe_row(int32_t verified, int32_t right) {
  // A draft behind a wrong one was never put to the test.
  for (int32_t i = 0; i < std::min({verified, right + 1, kDraftsMax}); ++i) {
    Depth& d = depths_[static_cast<size_t>(i)];
    d.tried += 1 - d.tried / kMemory;
    d.right += (i < right ? 1 : 0) - d.right / kMemory;
  }
}

void Speculation::observe_step(const SpeculatedStep& step) {
  if (!on() || !step.pure || step.rows == 0) return;
  // Steps in which most rows lacked their drafts cost less than the choice does.
  if (4 * step.verified < 3 * step.rows * step.asked) return;
  Cost& cost = batch_class(step.rows).cost[static_cast<size_t>(step.asked)];
  double seconds = std::max(step.took.to_seconds(), 1e-9);
  ++cost.samples;
  if (cost.samples == 1) {
    cost.seconds = seconds;
    return;
  }
  // One step that lost the processor for a while is not what steps cost.
  seconds = std::min(seconds, 2 * cost.seconds);
  const double weight = std::max(1.0 / cost.samples, 1.0 / 16);
  cost.seconds += weight * (seconds - cost.seconds);
}

}  // namespace fathom
