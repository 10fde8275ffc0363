#include "kernels/cpu/batch_sampler.h"

namespace fathom {
namespace {

class HostSampler final : public BatchSampler {
 public:
  std::vector<Result<Sampled>> sample(std::span<const SampleInput> inputs) override {
    std::vector<Result<Sampled>> out;
    for (const SampleInput& input : inputs) out.push_back(sampler_.sample(input));
    return out;
  }
  std::vector<Result<TokenLogprob>> score(std::span<const ScoreInput> inputs) override {
    std::vector<Result<TokenLogprob>> out;
    for (const ScoreInput& input : inputs)
      out.push_back(sampler_.score(input.logits, input.target, input.alternatives));
    return out;
  }

 private:
  Sampler sampler_;
};

}  // namespace

std::unique_ptr<BatchSampler> make_host_sampler() { return std::make_unique<HostSampler>(); }

}  // namespace fathom
