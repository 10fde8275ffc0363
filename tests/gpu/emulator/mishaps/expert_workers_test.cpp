// What does a router hear when a GPU of a worker fails, or hangs, in the midst of a round that its
// ranks replay? That all ranks' workers are gone, each once; so it recovers what ran there, once.
// No sequence ended before, and no token was told that a healthy group would not have drawn.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "tests/gpu/emulator/mishaps/mishaps.h"
#include "tests/unit/worker/seat.h"
#include "tests/unit/worker/stage.h"
#include "worker/worker.h"

namespace fathom {
namespace {

using Kind = emulated::Mishap::Kind;
using stage::prompt_of;
using stage::Seat;

constexpr int32_t kWhole = 7;

WorkerConfig settings() {
  WorkerConfig config;
  config.model = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16";
  config.listen = "127.0.0.1:0";
  config.operations_listen = "";
  config.device = "cuda";
  config.compute = "float32";
  config.expert_parallel = 2;
  config.threads = 1;
  config.block_tokens = 16;
  config.kv_blocks = 64;
  return config;
}

Edits ask(SeqId seq, int32_t prompt, int32_t count) {
  return {Prefill{.seq = seq,
                  .tokens = prompt_of(prompt),
                  .prompt_tokens = prompt,
                  .sampling = {.temperature = 0, .max_tokens = count},
                  .blocks = 16,
                  .lease = count}};
}

class ExpertWorkersOnGpus : public testing::TestWithParam<std::tuple<Kind, int>> {};

TEST_P(ExpertWorkersOnGpus, end_together_and_once_where_a_gpu_does_in_a_replayed_round) {
  const auto [kind, gpu] = GetParam();
  SystemClock clock;
  Metrics metrics;
  std::atomic<int> ends = 0;
  auto started = start_worker(
      settings(), {.clock = clock, .metrics = metrics, .instance = 5, .on_end = [&] { ++ends; }});
  ASSERT_TRUE(started.ok()) << started.error().text();
  std::unique_ptr<Worker> worker = std::move(started).value();
  const std::string both = worker->address();
  const std::string at[] = {both.substr(0, both.find(',')), both.substr(both.find(',') + 1)};
  constexpr int32_t kPrompts[] = {9, 13};
  Seat seat(1, Duration::seconds(120));
  for (const std::string& address : at) seat.meet(address);
  std::vector<TokenId> healthy[2];
  for (uint64_t r = 0; r < 2; ++r) seat.say(at[r], ask({r}, kPrompts[r], kWhole));
  for (uint64_t r = 0; r < 2; ++r) healthy[r] = seat.tokens(at[r], {r}, kWhole);
  if (HasFailure()) return;
  // The same again, and it would go on for long.
  for (uint64_t r = 0; r < 2; ++r) seat.say(at[r], ask({10 + r}, kPrompts[r], 200));
  for (uint64_t r = 0; r < 2; ++r) seat.tokens(at[r], {10 + r}, 3);
  {
    const MishapOf mishap(gpu, kind, 7);
    for (const std::string& address : at) seat.await_down(address);
    EXPECT_TRUE(mishap.happened());
    EXPECT_TRUE(worker->wait(Duration::seconds(120)));
    const Status result = worker->result();
    ASSERT_FALSE(result.ok());
    EXPECT_TRUE(result.error().code == Code::unavailable || result.error().code == Code::internal)
        << result.error().text();
  }
  worker.reset();
  EXPECT_EQ(ends, 1);
  for (uint64_t r = 0; r < 2; ++r) {
    EXPECT_EQ(seat.losses(at[r]), 1) << "rank " << r;
    EXPECT_EQ(seat.endings({10 + r}), 0) << "what ran on rank " << r << " is the router's again";
    const auto told = seat.told(at[r], {10 + r});
    EXPECT_LT(told.size(), 200u);
    const auto common = std::min(told.size(), healthy[r].size());
    EXPECT_TRUE(std::equal(told.begin(), told.begin() + static_cast<std::ptrdiff_t>(common),
                           healthy[r].begin()))
        << "rank " << r;
  }
}

INSTANTIATE_TEST_SUITE_P(Mishaps, ExpertWorkersOnGpus,
                         testing::Values(std::tuple(Kind::fails, 0), std::tuple(Kind::hangs, 1)),
                         [](const auto& instance) {
                           return (std::get<0>(instance.param) == Kind::fails ? "fails_"
                                                                              : "hangs_") +
                                  std::to_string(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace fathom
