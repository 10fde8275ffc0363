// How does a batch of rows go through the GPU's sampler? As one upload of what every row asks for,
// one or two kernels, and one download of the results, which the host finishes: logarithms are
// taken here, from exact sums, so log-probabilities equal the CPU's to the bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <memory>

#include "base/check.h"
#include "base/philox.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/sampler/launch.h"
#include "kernels/weight_of_logit.h"

namespace fathom {
namespace cuda {
namespace {

constexpr size_t kAlign = 8;  // of lists in the upload

// Memory on the device that grows to its largest need.
class Grown {
 public:
  explicit Grown(Device& device) : device_(device) {}
  ~Grown() { device_.release(memory_); }
  Grown(const Grown&) = delete;
  Grown& operator=(const Grown&) = delete;
  std::byte* reach(size_t bytes) {
    if (bytes > bytes_) {
      device_.release(memory_);
      bytes_ = std::max(bytes, 2 * bytes_);
      memory_ = device_.allocate(bytes_);
      if (memory_ == nullptr) bytes_ = 0;
    }
    return static_cast<std::byte*>(memory_);
  }

 private:
  Device& device_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

Error no_memory() {
  return {Code::resource_exhausted, "no memory for the sampler's rows", "device"};
}

Error error_of(RowStatus status) {
  if (status == RowStatus::not_finite)
    return {Code::internal, "the model computed a logit that is not finite", "logits"};
  return {Code::internal, "no token can be drawn", "logits"};
}

// Of all calls: what one leaves is read before the next one's kernels, which come later, write.
struct Memory {
  Grown &upload, &results, &workspace;
};

// One call's rows: plain greedy ones first, then all others, behind them their lists. Its memory is
// used again by the next call.
class Call {
 public:
  void clear() {
    results_ = 0;
    greedy_.clear();
    any_.clear();
    biases_.clear();
    counts_.clear();
    masked_.clear();
    errors_.clear();
  }
  // Rows must be told in order; a row that fails here is not uploaded.
  bool has_failures() const { return !errors_.empty(); }
  void fail(Error error) { errors_.emplace_back(results_++, std::move(error)); }
  void tell(const SampleInput& in) {
    if (in.logits.empty())
      return fail({Code::internal, "there are no logits to sample from", "logits"});
    const Sampling& s = *in.sampling;
    SampleRow row = blank(in.logits);
    row.uniform = philox_uniform(s.seed, static_cast<uint64_t>(in.position));
    row.temperature = s.temperature;
    row.top_p = s.top_p;
    if (s.min_p > 0.0f) row.lowest = lowest_by_min_p(s.min_p);
    if (s.top_k > 0 && static_cast<size_t>(s.top_k) < in.logits.size()) row.top_k = s.top_k;
    row.repetition = s.repetition_penalty;
    row.frequency = s.frequency_penalty;
    row.presence = s.presence_penalty;
    row.alternatives = std::min(s.logprobs, kTopLogprobsMax);
    for (const auto& [token, bias] : s.logit_bias) biases_.push_back({token, bias});
    std::stable_sort(biases_.begin() + row.biases, biases_.end(),
                     [](const Bias& a, const Bias& b) { return a.token < b.token; });
    row.biases_end = static_cast<int32_t>(biases_.size());
    counts_.insert(counts_.end(), in.counts.begin(), in.counts.end());
    row.counts_end = static_cast<int32_t>(counts_.size());
    if (in.emitted < s.min_tokens)
      masked_.insert(masked_.end(), s.stop_tokens.begin(), s.stop_tokens.end());
    row.masked_end = static_cast<int32_t>(masked_.size());
    const bool plain = s.temperature <= 0.0f && row.alternatives < 0 && !row.adjusted();
    (plain ? greedy_ : any_).push_back(row);
  }
  void tell(const ScoreInput& in) {
    if (in.target < 0 || static_cast<size_t>(in.target) >= in.logits.size())
      return fail({Code::internal, "a token to score is outside the vocabulary", "target"});
    SampleRow row = blank(in.logits);
    row.target = in.target;
    row.alternatives = std::clamp(in.alternatives, 0, kTopLogprobsMax);
    any_.push_back(row);
  }

  // The kernels are said; their results are at `results` on the device, of result_bytes().
  Status launch(CudaDevice& device, const Memory& memory, TokenId* drawn, const void*& results) {
    const auto rows = static_cast<int32_t>(greedy_.size() + any_.size());
    if (rows == 0) return {};
    packed_.clear();
    const size_t at = pack(greedy_);
    pack(any_);  // right behind: both are whole rows
    const size_t biases = pack(biases_), counts = pack(counts_), masked = pack(masked_);
    const bool fits = row_fits(vocab_);
    std::byte* there = memory.upload.reach(packed_.size());
    std::byte* found = memory.results.reach(result_bytes());
    std::byte* copies =
        fits ? nullptr : memory.workspace.reach(any_.size() * vocab_ * sizeof(float));
    if (there == nullptr || found == nullptr || (!fits && copies == nullptr)) return no_memory();
    const SampleLists lists{reinterpret_cast<const SampleRow*>(there + at),
                            reinterpret_cast<const Bias*>(there + biases),
                            reinterpret_cast<const TokenCount*>(there + counts),
                            reinterpret_cast<const TokenId*>(there + masked),
                            reinterpret_cast<SampleResult*>(found),
                            reinterpret_cast<float*>(copies),
                            drawn};
    device.upload(there, packed_.data(), packed_.size());
    const auto vocab = static_cast<int32_t>(vocab_), greedy = static_cast<int32_t>(greedy_.size());
    if (greedy > 0) sample_greedy(device, lists, 0, greedy, vocab);
    if (rows > greedy) sample_any(device, lists, greedy, rows - greedy, vocab);
    results = found;
    return {};
  }
  size_t result_bytes() const { return static_cast<size_t>(results_) * sizeof(SampleResult); }
  // What came back from there.
  void take(std::span<const std::byte> found) {
    found_.resize(static_cast<size_t>(results_));
    if (!found.empty()) std::memcpy(found_.data(), found.data(), result_bytes());
  }
  Status run(CudaDevice& device, const Memory& memory) {
    const void* results = nullptr;
    FATHOM_CHECKED(launch(device, memory, nullptr, results));
    found_.resize(static_cast<size_t>(results_));
    if (results == nullptr) return {};
    return device.download(found_.data(), results, result_bytes());
  }

  // finish(result, has_logprobs) for every row, or its error.
  template <class T, class Finish>
  std::vector<Result<T>> results(const Status& status, const Finish& finish) {
    std::vector<Result<T>> out(static_cast<size_t>(results_),
                               Result<T>(status.ok() ? Error{} : status.error()));
    if (status.ok())
      for (const auto* list : {&greedy_, &any_})
        for (const SampleRow& row : *list) {
          const SampleResult& r = found_[static_cast<size_t>(row.result)];
          set(out, row.result,
              r.status == RowStatus::ok ? Result<T>(finish(r, row.alternatives >= 0))
                                        : Result<T>(error_of(r.status)));
        }
    for (const auto& [index, error] : errors_) set(out, index, Result<T>(error));
    return out;
  }

 private:
  template <class T>
  static void set(std::vector<Result<T>>& out, int32_t index, Result<T>&& result) {
    (void)(out[static_cast<size_t>(index)] = std::move(result));
  }
  SampleRow blank(std::span<const float> logits) {
    vocab_ = logits.size();
    const auto biases = static_cast<int32_t>(biases_.size()),
               counts = static_cast<int32_t>(counts_.size()),
               masked = static_cast<int32_t>(masked_.size());
    return {.logits = logits.data(),
            .uniform = 0,
            .temperature = 0,
            .top_p = 1,
            .lowest = -INFINITY,
            .repetition = 1,
            .frequency = 0,
            .presence = 0,
            .top_k = 0,
            .target = -1,
            .alternatives = -1,
            .biases = biases,
            .biases_end = biases,
            .counts = counts,
            .counts_end = counts,
            .masked = masked,
            .masked_end = masked,
            .result = results_++};
  }

  template <class T>
  size_t pack(const std::vector<T>& list) {
    static_assert(alignof(T) <= kAlign);
    const size_t at = (packed_.size() + kAlign - 1) / kAlign * kAlign;
    const size_t bytes = list.size() * sizeof(T);
    packed_.resize(at + bytes);
    if (bytes > 0) std::memcpy(packed_.data() + at, list.data(), bytes);
    return at;
  }

  size_t vocab_ = 0;  // of all rows
  int32_t results_ = 0;
  std::vector<SampleRow> greedy_, any_;
  std::vector<Bias> biases_;
  std::vector<TokenCount> counts_;
  std::vector<TokenId> masked_;
  std::vector<std::byte> packed_;
  std::vector<SampleResult> found_;
  std::vector<std::pair<int32_t, Error>> errors_;
};

TokenLogprob logprob_of(const SampleResult& r) {
  const double log_sum = r.largest + std::log(r.weights);
  TokenLogprob out{.logprob = static_cast<float>(r.logit - log_sum),
                   .top = {r.top, r.top + r.named}};
  for (Alternative& a : out.top) a.logprob = static_cast<float>(a.logprob - log_sum);
  return out;
}

class CudaSampler final : public BatchSampler {
 public:
  explicit CudaSampler(CudaDevice& device)
      : device_(device), upload_(device), results_(device), workspace_(device) {}

  std::vector<Result<Sampled>> sample(std::span<const SampleInput> inputs) override {
    const Status status = run(inputs);
    return call_.results<Sampled>(status, sampled_of);
  }
  void begin(std::span<const SampleInput> inputs, TokenId* drawn) override {
    if (idle_.empty()) idle_.push_back(std::make_unique<Begun>(device_));
    Begun& b = *begun_.emplace_back(std::move(idle_.back()));
    idle_.pop_back();
    b.call.clear();
    for (const SampleInput& in : inputs) b.call.tell(in);
    // Rows that fail on the host get no kernel.
    if (b.call.has_failures()) device_.fill_zero(drawn, inputs.size() * sizeof(TokenId));
    const void* results = nullptr;
    (void)(b.status = b.call.launch(device_, memory(), drawn, results));
    b.download->begin(results, results == nullptr ? 0 : b.call.result_bytes());
  }
  Result<std::vector<Result<Sampled>>> finish() override {
    CHECK(!begun_.empty(), "no call was begun");
    std::unique_ptr<Begun> b = std::move(begun_.front());
    begun_.pop_front();
    FATHOM_TRY(const auto found, b->download->finish());
    b->call.take(found);
    auto out = b->call.results<Sampled>(b->status, sampled_of);
    idle_.push_back(std::move(b));
    return out;
  }
  std::vector<Result<TokenLogprob>> score(std::span<const ScoreInput> inputs) override {
    const Status status = run(inputs);
    return call_.results<TokenLogprob>(status,
                                       [](const SampleResult& r, bool) { return logprob_of(r); });
  }

 private:
  struct Begun {
    explicit Begun(Device& device) : download(device.make_download()) {}
    Call call;
    std::unique_ptr<Download> download;
    Status status;
  };

  static Sampled sampled_of(const SampleResult& r, bool logprobs) {
    return {.token = r.token, .logprob = logprobs ? logprob_of(r) : TokenLogprob{}};
  }
  Memory memory() { return {upload_, results_, workspace_}; }
  template <class Input>
  Status run(std::span<const Input> inputs) {
    call_.clear();
    for (const Input& in : inputs) call_.tell(in);
    return call_.run(device_, memory());
  }

  CudaDevice& device_;
  Call call_;
  Grown upload_, results_, workspace_;
  std::deque<std::unique_ptr<Begun>> begun_;  // and not finished
  std::vector<std::unique_ptr<Begun>> idle_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<BatchSampler> make_cuda_sampler(Device& device) {
  return std::make_unique<cuda::CudaSampler>(static_cast<cuda::CudaDevice&>(device));
}

}  // namespace fathom
