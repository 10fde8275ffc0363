// What does the vocabulary cost a guess? Half: a copy of lm_head in block-scaled FP8, made at
// start. A guess reads the whole head for one argmax, which in a small model is most of its cost,
// and needs not be exact: the model verifies it with the head as stored. One byte a parameter of
// the head.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/tensor.h"

namespace fathom {

class DraftHead {
 public:
  // Of a BF16 head; any other is used as it is stored.
  explicit DraftHead(const Weight& lm_head);
  DraftHead(const DraftHead&) = delete;
  DraftHead& operator=(const DraftHead&) = delete;

  const Weight& weight() const { return weight_; }

 private:
  Weight weight_;
  std::vector<uint8_t> values_;
  std::vector<float> scales_;
};

// The nearest e4m3 of a number of at most 448; ties to even.
uint8_t narrow_e4m3(float value);

}  // namespace fathom
