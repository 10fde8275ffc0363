// Which kernels does the sampler launch? Two: rows that are plain greedy, and all others.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/sampler/row.h"

namespace fathom::cuda {

class CudaDevice;

// The upload, on the device.
struct SampleLists {
  const SampleRow* rows;
  const Bias* biases;
  const TokenCount* counts;
  const TokenId* masked;
  SampleResult* results;
  float* workspace;  // [rows, vocab], or null where rows fit into shared memory
  TokenId* drawn;    // [results]: the tokens alone, 0 for none; or null
};

// Whether a row of so many logits fits into the shared memory of its blocks.
bool row_fits(int64_t vocab);

// rows[first .. first + count) of temperature 0, not adjusted, without log-probabilities.
void sample_greedy(CudaDevice& device, const SampleLists& lists, int32_t first, int32_t count,
                   int32_t vocab);
void sample_any(CudaDevice& device, const SampleLists& lists, int32_t first, int32_t count,
                int32_t vocab);

}  // namespace fathom::cuda
