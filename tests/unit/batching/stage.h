// How is a story about the Batcher told in a few lines? A stage with workers and one or two
// gateways: the test plays the workers by hand, row by row, and looks at the edits and events that
// came of it. Every call is followed by a check of the whole account.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "batching/batcher.h"

namespace fathom {

inline Welcome welcome_of(uint32_t id, Role role) {
  return {.instance = 1000 + id,
          .role = role,
          .model = "tiny",
          .model_digest = "d1",
          .kv = {.kind = "fake", .layers = 1, .width = 4, .block_tokens = 16, .block_bytes = 256},
          .blocks = 64,
          .rows_max = 16,
          .context_max = 512,
          .vocab = 1000,
          .fetch_address = "10.0.0." + std::to_string(id) + ":7000"};
}

inline Submit submit_of(uint64_t id, int32_t prompt, int32_t max_tokens) {
  Submit submit{.id = {id}, .prompt_tokens = prompt};
  submit.tokens.resize(static_cast<size_t>(prompt));
  std::iota(submit.tokens.begin(), submit.tokens.end(), 1);
  submit.sampling.max_tokens = max_tokens;
  return submit;
}

inline Row row_of(SeqId seq, int32_t first, std::vector<TokenId> tokens,
                  Finish finish = Finish::none) {
  return {.seq = seq, .first = first, .tokens = std::move(tokens), .finish = finish};
}

class Stage {
 public:
  explicit Stage(BatcherConfig config = {}) : batcher(config) {}

  WorkerId up(uint32_t id, Role role) { return up(id, welcome_of(id, role)); }
  WorkerId up(uint32_t id, const Welcome& welcome) {
    const Status status = batcher.worker_up({id}, welcome);
    EXPECT_TRUE(status.ok()) << status.error().text();
    look();
    return {id};
  }
  void down(WorkerId id) {
    batcher.worker_down(id);
    look();
  }
  void submit(const Submit& submit, uint32_t gateway = 1) {
    batcher.submit({gateway}, submit, now);
    look();
  }
  void cancel(uint64_t id, uint32_t gateway = 1) {
    batcher.cancel({gateway}, {id});
    look();
  }
  void rows(WorkerId worker, std::vector<Row> rows) { report(worker, {.rows = std::move(rows)}); }
  void resident(WorkerId worker, SeqId seq) { report(worker, {.resident = {seq}}); }
  void failed(WorkerId worker, SeqId seq, Code code) {
    report(worker, {.failed = {{seq, {code, "it broke", ""}}}});
  }
  void report(WorkerId worker, const Report& report) {
    batcher.report(worker, report, now);
    look();
  }
  void wait(Duration time) {
    now = now + time;
    look();
  }

  // Ticks, and keeps what came: edits and events since the last time they were taken.
  void look() {
    batcher.check_integrity();
    Decisions decisions = batcher.tick(now);
    batcher.check_integrity();
    wake = decisions.wake;
    stalled.insert(stalled.end(), decisions.stalled.begin(), decisions.stalled.end());
    for (auto& [worker, list] : decisions.edits) {
      for (Edit& edit : list) edits_.emplace_back(worker, std::move(edit));
    }
    for (auto& event : decisions.events) events_.push_back(std::move(event));
  }

  // All edits of one kind to one worker since they were last asked for.
  template <class Kind>
  std::vector<Kind> take(WorkerId worker) {
    std::vector<Kind> found;
    std::erase_if(edits_, [&](auto& entry) {
      if (!(entry.first == worker) || !std::holds_alternative<Kind>(entry.second)) return false;
      found.push_back(std::get<Kind>(std::move(entry.second)));
      return true;
    });
    return found;
  }
  // The only one of its kind.
  template <class Kind>
  Kind only(WorkerId worker) {
    std::vector<Kind> found = take<Kind>(worker);
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Kind{} : found.front();
  }
  size_t edits_left() const { return edits_.size(); }

  std::vector<std::pair<GatewayId, FromRouter>> take_events() { return std::exchange(events_, {}); }
  template <class Kind>
  std::vector<Kind> events() {
    std::vector<Kind> found;
    std::erase_if(events_, [&](auto& event) {
      if (!std::holds_alternative<Kind>(event.second)) return false;
      found.push_back(std::get<Kind>(std::move(event.second)));
      return true;
    });
    return found;
  }
  Finished only_finished() {
    const auto found = events<Finished>();
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Finished{} : found.front();
  }

  Batcher batcher;
  Instant now{1'000'000'000};
  Instant wake = kNever;
  std::vector<StalledWorker> stalled;  // all that were ever given up

 private:
  std::vector<std::pair<WorkerId, Edit>> edits_;
  std::vector<std::pair<GatewayId, FromRouter>> events_;
};

}  // namespace fathom
