// What crosses between host and GPU when rows of logits become tokens? One upload [rows | biases |
// counts | masked tokens] and one download of results; these are their parts. Plain structs, so the
// host side is plain C++.
#pragma once

#include <cstdint>

#include "kernels/sample.h"

namespace fathom::cuda {

inline constexpr int kRowBlocks = 8;  // thread blocks of one row: a cluster

struct Bias {
  TokenId token;
  float bias;
};

// One row to draw from, or to score. Lists are ranges of the upload's arrays, each sorted by token.
struct SampleRow {
  const float* logits;  // [vocab], on the device
  double uniform;       // in [0, 1): where the draw falls
  float temperature;    // 0: the largest
  float top_p;          // >= 1: off
  float lowest;         // bound of min-p on below_largest; -inf: off
  float repetition, frequency, presence;
  int32_t top_k;         // 0: off
  TokenId target;        // >= 0: nothing is drawn, this token is scored
  int32_t alternatives;  // < 0: no log-probabilities
  int32_t biases, biases_end;
  int32_t counts, counts_end;
  int32_t masked, masked_end;
  int32_t result;  // which one is this row's
  bool adjusted() const {
    return biases_end > biases || counts_end > counts || masked_end > masked;
  }
};

enum class RowStatus : int32_t { ok, not_finite, nothing_to_draw };

// Log-probabilities are finished by the host, from exact sums, so they are the CPU's to the bit.
struct SampleResult {
  double weights;  // of the whole row at temperature 1
  RowStatus status;
  TokenId token;
  float logit;                       // the token's, adjusted
  float largest;                     // of the row
  int32_t named;                     // alternatives
  Alternative top[kTopLogprobsMax];  // in falling order; logits here
};

}  // namespace fathom::cuda
