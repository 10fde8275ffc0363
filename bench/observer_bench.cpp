// links: fathom_router
//
// What does it cost the router that somebody could watch, and what does a view cost when somebody
// does? The reports of batcher_bench: 8 workers, 125 rows each. Prints one line per question.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "router/observer.h"

namespace fathom {
namespace {

constexpr uint32_t kWorkers = 8;
constexpr int kRows = 125;
constexpr int kSteps = 4000;
constexpr int kViews = 1000;
constexpr int64_t kStart = 1'764'000'000;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Report report_of_rows() {
  Report report{.step_us = 20'000, .decode_rows = kRows};
  for (int i = 0; i < kRows; ++i)
    report.rows.push_back({.seq = {static_cast<uint64_t>(i)}, .tokens = {1}});
  return report;
}

void observe() {
  const Batcher batcher({});
  Instant now{0};
  Observer observer(kStart * 1'000'000'000, now);
  for (uint32_t w = 1; w <= kWorkers; ++w)
    observer.worker_up({w}, "10.0.0." + std::to_string(w) + ":7100", {.blocks = 100}, now);
  const Report report = report_of_rows();
  double before = seconds_now();
  for (int step = 0; step < kSteps; ++step) {
    now = now + Duration::ms(20);
    for (uint32_t w = 1; w <= kWorkers; ++w) {
      observer.advance(now, batcher);
      observer.step({w}, report, now);
      observer.sent(kRows);
    }
  }
  constexpr double kTokens = double{kSteps} * kWorkers * kRows;
  std::printf("nobody watches: %.2f ns/token\n", (seconds_now() - before) * 1e9 / kTokens);
  before = seconds_now();
  size_t workers = 0;
  const WatchFrom from{.second = kStart + kSteps / 50 - 2, .happening = 1};
  for (int i = 0; i < kViews; ++i)
    workers += observer.update(from, batcher, 1024, now).view.workers.size();
  std::printf("a view: %.1f us, of %zu workers\n", (seconds_now() - before) * 1e6 / kViews,
              workers / kViews);
}

}  // namespace
}  // namespace fathom

int main() {
  fathom::observe();
  return 0;
}
