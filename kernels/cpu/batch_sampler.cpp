#include "kernels/cpu/batch_sampler.h"

#include <deque>
#include <utility>

#include "base/check.h"

namespace fathom {
namespace {

class HostSampler final : public BatchSampler {
 public:
  std::vector<Result<Sampled>> sample(std::span<const SampleInput> inputs) override {
    std::vector<Result<Sampled>> out;
    for (const SampleInput& input : inputs) out.push_back(sampler_.sample(input));
    return out;
  }
  void begin(std::span<const SampleInput> inputs, TokenId* drawn) override {
    auto& sampled = begun_.emplace_back(sample(inputs));
    for (size_t i = 0; i < sampled.size(); ++i) drawn[i] = sampled[i].ok() ? sampled[i]->token : 0;
  }
  Result<std::vector<Result<Sampled>>> finish() override {
    CHECK(!begun_.empty(), "no call was begun");
    auto sampled = std::move(begun_.front());
    begun_.pop_front();
    return sampled;
  }
  std::vector<Result<TokenLogprob>> score(std::span<const ScoreInput> inputs) override {
    std::vector<Result<TokenLogprob>> out;
    for (const ScoreInput& input : inputs)
      out.push_back(sampler_.score(input.logits, input.target, input.alternatives));
    return out;
  }

 private:
  std::deque<std::vector<Result<Sampled>>> begun_;  // and not finished
  Sampler sampler_;
};

}  // namespace

std::unique_ptr<BatchSampler> make_host_sampler() { return std::make_unique<HostSampler>(); }

}  // namespace fathom
