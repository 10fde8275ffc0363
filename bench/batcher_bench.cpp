// links: fathom_batching
//
// What does a token cost the router's brain, and how many requests can it admit? 1,000 sequences
// decode on 8 workers, one report of 125 rows per worker and step, a tick after each report; making
// the reports is not counted, freeing the decisions is. Prints one line per question.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "batching/batcher.h"

namespace fathom {
namespace {

constexpr uint32_t kWorkers = 8;
constexpr int32_t kSequences = 1000;
constexpr int kSteps = 2000;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Welcome welcome_of(uint32_t id) {
  return {.instance = id,
          .role = Role::both,
          .model = "bench",
          .model_digest = "bench",
          .kv = {.block_tokens = 64},
          .blocks = 20'000,
          .context_max = 65'536,
          .vocab = 129'280,
          .fetch_address = "127.0.0.1:1"};
}

Submit submit_of(uint64_t id, size_t prompt, int32_t max_tokens) {
  Submit submit{.id = {id}, .tokens = std::vector<TokenId>(prompt, 1)};
  submit.prompt_tokens = static_cast<int32_t>(prompt);
  submit.sampling.max_tokens = max_tokens;
  submit.tenant = "t" + std::to_string(id % 100);
  return submit;
}

struct Cluster {
  explicit Cluster(int32_t rows_max)
      : batcher(BatcherConfig{.queue_max = 100'000, .queue_tokens_max = 2'000'000'000}) {
    for (uint32_t w = 0; w < kWorkers; ++w) {
      Welcome welcome = welcome_of(w + 1);
      welcome.rows_max = rows_max;
      if (!batcher.worker_up({w + 1}, welcome).ok()) std::abort();
    }
    rows.resize(kWorkers);
  }
  // Answers every prefill with its first token, until nothing more is admitted.
  size_t admit_all() {
    size_t admitted = 0;
    for (;;) {
      Decisions decisions = batcher.tick(now);
      if (decisions.edits.empty()) return admitted;
      for (auto& [worker, edits] : decisions.edits) {
        Report report;
        for (Edit& edit : edits) {
          const auto* prefill = std::get_if<Prefill>(&edit);
          if (!prefill) continue;
          ++admitted;
          report.rows.push_back({.seq = prefill->seq, .first = 0, .tokens = {1}});
          rows[worker.value - 1].push_back({.seq = prefill->seq, .first = 1, .tokens = {1}});
        }
        batcher.report(worker, report, now);
      }
    }
  }

  Batcher batcher;
  Instant now{1};
  std::vector<std::vector<Row>> rows;  // of the next step, by worker
};

// With `waiting` more requests in the queue, for which there is no room.
void tokens(int32_t waiting) {
  Cluster cluster(kSequences / static_cast<int32_t>(kWorkers));
  for (int32_t i = 0; i < kSequences + waiting; ++i) {
    cluster.batcher.submit({1}, submit_of(static_cast<uint64_t>(i), 100, 60'000), cluster.now);
  }
  cluster.admit_all();
  double spent = 0;
  uint64_t count = 0;
  size_t events = 0;
  for (int step = 0; step < kSteps; ++step) {
    for (uint32_t w = 0; w < kWorkers; ++w) {
      Report report{.step_us = 20'000, .rows = cluster.rows[w]};
      for (Row& row : cluster.rows[w]) ++row.first;
      const double before = seconds_now();
      {
        cluster.batcher.report({w + 1}, report, cluster.now);
        const Decisions decisions = cluster.batcher.tick(cluster.now);
        events += decisions.events.size();
      }
      spent += seconds_now() - before;
      count += report.rows.size();
    }
  }
  if (events != count) std::abort();
  std::printf("report+tick: %.0f ns/token, %d sequences on %u workers, %d waiting, %llu tokens\n",
              spent * 1e9 / static_cast<double>(count), kSequences, kWorkers, waiting,
              static_cast<unsigned long long>(count));
}

// From submission to the Prefill edit, without the client's ends.
void admissions(size_t prompt) {
  double spent = 0;
  size_t admitted = 0;
  for (int round = 0; round < 50; ++round) {
    Cluster cluster(256);
    std::vector<Submit> submits;
    for (int32_t i = 0; i < 1500; ++i) {
      submits.push_back(submit_of(static_cast<uint64_t>(i), prompt, 500));
    }
    const double before = seconds_now();
    for (Submit& submit : submits) cluster.batcher.submit({1}, std::move(submit), cluster.now);
    admitted += cluster.admit_all();
    spent += seconds_now() - before;
  }
  std::printf("admission: %.2f us each, %.0f per second, prompts of %zu tokens\n",
              spent * 1e6 / static_cast<double>(admitted), static_cast<double>(admitted) / spent,
              prompt);
}

}  // namespace
}  // namespace fathom

int main() {
  fathom::tokens(0);
  fathom::tokens(20'000);
  fathom::admissions(100);
  fathom::admissions(4000);
  return 0;
}
