// Which experts does a token use? The scoring of V3 (sigmoid, bias that selects but does not weigh,
// groups by their two best) and V2 (softmax, groups by their best), in float32. Experts of dropped
// groups count as -inf; ties go to the lower index, in groups and in experts.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/operations.h"

namespace fathom::cpu {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();

void score_row(const RouteParams& p, const float* logits, float* score) {
  if (p.scoring == Scoring::sigmoid) {
    for (int32_t e = 0; e < p.experts; ++e) score[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    return;
  }
  float largest = logits[0];
  for (int32_t e = 1; e < p.experts; ++e) largest = std::max(largest, logits[e]);
  float sum = 0;
  for (int32_t e = 0; e < p.experts; ++e) sum += score[e] = std::exp(logits[e] - largest);
  for (int32_t e = 0; e < p.experts; ++e) score[e] /= sum;
}

float group_score(GroupScore kind, const float* biased, int32_t count) {
  float first = kDropped, second = kDropped;
  for (int32_t i = 0; i < count; ++i) {
    if (biased[i] > first) {
      second = first;
      first = biased[i];
    } else if (biased[i] > second) {
      second = biased[i];
    }
  }
  return kind == GroupScore::max || count < 2 ? first : first + second;
}

// The largest of the untaken, or the first untaken one when none is larger (all -inf, NaN).
int32_t take_best(const float* values, bool* taken, int32_t count) {
  int32_t best = -1;
  for (int32_t i = 0; i < count; ++i)
    if (!taken[i] && (best < 0 || values[i] > values[best])) best = i;
  taken[best] = true;
  return best;
}

void drop_groups(const RouteParams& p, float* biased, float* group, bool* kept) {
  const int32_t size = p.experts / p.groups;
  for (int32_t g = 0; g < p.groups; ++g)
    group[g] = group_score(p.group_score, biased + g * size, size);
  std::fill_n(kept, p.groups, false);
  for (int32_t i = 0; i < p.groups_kept; ++i) take_best(group, kept, p.groups);
  for (int32_t g = 0; g < p.groups; ++g)
    if (!kept[g]) std::fill_n(biased + g * size, size, kDropped);
}

}  // namespace

void route(const Inner&, const OpContext& ctx, const RouteParams& p) {
  Workspace workspace(ctx);
  float* score = workspace.take<float>(p.experts);
  float* biased = workspace.take<float>(p.experts);
  float* group = workspace.take<float>(p.experts);
  bool* taken = workspace.take<bool>(p.experts);
  for (int32_t t = 0; t < p.rows; ++t) {
    if (p.slots != nullptr && p.slots[t] < 0) {
      std::fill_n(p.ids + int64_t{t} * p.chosen, p.chosen, -1);
      std::fill_n(p.weights + int64_t{t} * p.chosen, p.chosen, 0.0f);
      continue;
    }
    score_row(p, p.logits + int64_t{t} * p.experts, score);
    for (int32_t e = 0; e < p.experts; ++e) biased[e] = p.bias ? score[e] + p.bias[e] : score[e];
    if (p.group_score != GroupScore::none && p.groups_kept < p.groups)
      drop_groups(p, biased, group, taken);
    std::fill_n(taken, p.experts, false);
    int32_t* ids = p.ids + int64_t{t} * p.chosen;
    float* weights = p.weights + int64_t{t} * p.chosen;
    float sum = 0;
    for (int32_t j = 0; j < p.chosen; ++j) {
      ids[j] = take_best(biased, taken, p.experts);
      sum += weights[j] = score[ids[j]];
    }
    for (int32_t j = 0; j < p.chosen; ++j) {
      if (p.normalise) weights[j] /= sum + 1e-20f;
      weights[j] *= p.factor;
    }
  }
}

}  // namespace fathom::cpu
