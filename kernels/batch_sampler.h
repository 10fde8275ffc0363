// How do rows of logits become tokens where the logits are? One implementation a backend: the
// sampler of sample.h row by row on the CPU, kernels that give the same tokens on a GPU.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "kernels/sample.h"

namespace fathom {

struct ScoreInput {
  std::span<const float> logits;  // [vocab]
  TokenId target = 0;
  int32_t alternatives = 0;  // 0..20
};

class BatchSampler {
 public:
  virtual ~BatchSampler() = default;
  // One result per input, in order; what Sampler::sample says of it. The logits of all inputs are
  // on the sampler's device and equally long; the rest is host memory. Returns when all are done.
  // A failed device is the error of every row.
  virtual std::vector<Result<Sampled>> sample(std::span<const SampleInput> inputs) = 0;
  // The same in two halves, for who need not wait at once. `begin` reads all of the inputs but the
  // logits before it returns; the token of input i goes to drawn[i] on the device, 0 where none is
  // drawn, ordered with the operations. `finish` waits for the call begun first of those that are
  // not finished; a failed device is its error.
  virtual void begin(std::span<const SampleInput> inputs, TokenId* drawn) = 0;
  virtual Result<std::vector<Result<Sampled>>> finish() = 0;
  // What Sampler::score says of each.
  virtual std::vector<Result<TokenLogprob>> score(std::span<const ScoreInput> inputs) = 0;
};

}  // namespace fathom
