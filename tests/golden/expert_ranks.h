// How are engines that divide the experts driven together? One a rank, each from a thread of its
// own, as workers do.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/expert_group.h"
#include "generation.h"

namespace fathom {

// One engine a rank, with what each sees of its logits.
class ExpertRanks {
 public:
  ExpertRanks(TpEngineConfig config, int32_t ranks) {
    config.experts.logits_tap = [this](int32_t rank, int32_t row, int32_t position,
                                       std::span<const float> logits) {
      engines_[static_cast<size_t>(rank)]->see(row, position, logits);
    };
    auto made = make_expert_group(config, ranks);
    CHECK(made.ok(), made.ok() ? "" : made.error().text());
    for (auto& engine : *made)
      engines_.push_back(std::make_unique<EngineUnderTest>(std::move(engine)));
  }
  EngineUnderTest& rank(size_t i) { return *engines_[i]; }
  size_t size() const { return engines_.size(); }

  // Every rank has its share of the requests, all at once, each in its own way.
  std::vector<Generated> share(const std::vector<Request>& requests,
                               const std::function<Schedule(size_t rank)>& schedule) {
    std::vector<std::vector<Request>> parts(size());
    for (size_t i = 0; i < requests.size(); ++i) parts[i % size()].push_back(requests[i]);
    std::vector<std::vector<Generated>> got(size());
    std::vector<std::thread> loops;
    for (size_t r = 0; r < size(); ++r)
      loops.emplace_back([&, r] { got[r] = generate(rank(r), parts[r], schedule(r)); });
    for (auto& loop : loops) loop.join();
    std::vector<Generated> out;
    for (size_t i = 0; i < requests.size(); ++i)
      out.push_back(std::move(got[i % size()][i / size()]));
    return out;
  }

 private:
  std::vector<std::unique_ptr<EngineUnderTest>> engines_;
};

}  // namespace fathom
