// At what angle does position p turn pair i? Frequencies of the rotary embedding with YaRN,
// llama3 or linear scaling, and what YaRN does to the softmax scale. Computed in float32 in the
// order of the reference code: one ulp of a frequency is visible in the logits of a long prompt.
#pragma once

#include <vector>

#include "model/config.h"

namespace fathom {

struct RopeTable {
  std::vector<float> frequencies;  // [width / 2]; angle = float(position) * frequency
  float magnitude = 1;             // multiplies cos and sin
  float softmax_factor = 1;        // multiplies the softmax scale; of DeepSeek's models only
  bool halves = false;             // pairs (i, i + width / 2) instead of adjacent ones
};

RopeTable make_rope_table(int32_t width, double theta, const RopeScaling& scaling);

}  // namespace fathom
