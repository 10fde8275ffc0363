// Does one process of several ranks look like several workers? Over real gRPC, with a real model:
// each rank has its router's stream, its sequences and its numbers, and they end together.
#include <gmock/gmock.h>

#include <atomic>

#include "net/http_client.h"
#include "tests/unit/worker/seat.h"
#include "tests/unit/worker/stage.h"
#include "worker/worker.h"

namespace fathom {
namespace {

using stage::kPatience;
using stage::prompt_of;
using stage::Seat;
using ::testing::HasSubstr;

WorkerConfig settings(int32_t ranks) {
  WorkerConfig config;
  config.model = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16";
  config.listen = "127.0.0.1:0";
  config.operations_listen = "127.0.0.1:0";
  config.expert_parallel = ranks;
  config.threads = 1;
  config.block_tokens = 16;
  config.kv_blocks = 64;
  return config;
}

struct Running {
  explicit Running(const WorkerConfig& config) {
    auto started = start_worker(
        config, {.clock = clock, .metrics = metrics, .instance = 5, .on_end = [this] { ++ends; }});
    CHECK(started.ok(), started.ok() ? "" : started.error().text());
    worker = std::move(started).value();
    std::string rest = worker->address() + ",";
    for (size_t comma = 0; (comma = rest.find(',')) != std::string::npos;
         rest = rest.substr(comma + 1))
      addresses.push_back(rest.substr(0, comma));
  }
  SystemClock clock;
  Metrics metrics;
  std::atomic<int> ends = 0;
  std::unique_ptr<Worker> worker;
  std::vector<std::string> addresses;
};

Edits ask(SeqId seq, int32_t prompt, int32_t count) {
  return {Prefill{.seq = seq,
                  .tokens = prompt_of(prompt),
                  .prompt_tokens = prompt,
                  .sampling = {.temperature = 0, .max_tokens = count},
                  .blocks = 8,
                  .lease = count}};
}

TEST(ExpertWorkers, every_rank_has_its_own_router_stream_and_tells_a_whole_workers_tokens) {
  Running two(settings(2)), one(settings(1));
  ASSERT_EQ(two.addresses.size(), 2u);
  Seat seat;
  const Welcome first = seat.meet(two.addresses[0]), second = seat.meet(two.addresses[1]);
  seat.meet(one.addresses[0]);
  EXPECT_NE(first.instance, second.instance);
  EXPECT_NE(first.fetch_address, second.fetch_address);
  EXPECT_EQ(first.model_digest, second.model_digest);
  EXPECT_EQ(first.blocks, 64);
  EXPECT_EQ(second.blocks, 64);
  // The same name on both ranks is two sequences.
  seat.say(two.addresses[0], ask({1}, 21, 40));
  seat.say(two.addresses[1], ask({1}, 33, 25));
  seat.say(one.addresses[0], ask({1}, 21, 40));
  seat.say(one.addresses[0], ask({2}, 33, 25));
  EXPECT_EQ(seat.tokens(two.addresses[0], {1}, 40), seat.tokens(one.addresses[0], {1}, 40));
  EXPECT_EQ(seat.tokens(two.addresses[1], {1}, 25), seat.tokens(one.addresses[0], {2}, 25));
  const HttpAddress at = parse_http_url("http://" + two.worker->operations_address()).value();
  EXPECT_EQ(http_call(at, {.target = "/health/ready"})->status, 200);
  const std::string metrics = http_call(at, {.target = "/metrics"})->body;
  EXPECT_THAT(metrics, HasSubstr("fathom_worker_kv_blocks{rank=\"0\"} 64"));
  EXPECT_THAT(metrics, HasSubstr("fathom_worker_kv_blocks{rank=\"1\"} 64"));
}

TEST(ExpertWorkers, a_drained_rank_lends_its_experts_until_the_last_has_ended) {
  Running two(settings(2));
  Seat seat;
  for (const std::string& address : two.addresses) seat.meet(address);
  seat.say(two.addresses[1], ask({7}, 9, 6));
  seat.tokens(two.addresses[1], {7}, 6);
  seat.say(two.addresses[0], {Prefill{.seq = {8},
                                      .tokens = prompt_of(9),
                                      .prompt_tokens = 9,
                                      .sampling = {.temperature = 0, .max_tokens = 30},
                                      .blocks = 8,
                                      .lease = 4}});
  seat.tokens(two.addresses[0], {8}, 4);  // paused: its lease is spent
  two.worker->drain();
  seat.await_draining(two.addresses[0]);
  seat.await_down(two.addresses[1]);  // it had nothing left
  EXPECT_EQ(two.worker->state(), WorkerState::draining);
  seat.say(two.addresses[0], {Renew{.seq = {8}, .lease = 26, .blocks = 0}});
  EXPECT_EQ(seat.tokens(two.addresses[0], {8}, 30).size(), 30u);
  EXPECT_TRUE(two.worker->wait(kPatience));
  EXPECT_TRUE(two.worker->result().ok());
  two.worker.reset();
  EXPECT_EQ(two.ends, 1);
}

TEST(ExpertWorkers, a_model_that_can_not_be_divided_ends_all_ranks_with_the_reason) {
  WorkerConfig config = settings(2);
  config.model = FATHOM_SOURCE_DIR "/tests/golden/data/llama-tiny";
  Running one(config);
  EXPECT_TRUE(one.worker->wait(kPatience));
  ASSERT_FALSE(one.worker->result().ok());
  EXPECT_EQ(one.worker->result().error().field, "expert_parallel");
}

TEST(ExpertWorkers, settings_that_do_not_fit_are_named) {
  const auto refusal = [](auto change) {
    WorkerConfig config = settings(2);
    change(config);
    SystemClock clock;
    Metrics metrics;
    auto started = start_worker(config, {.clock = clock, .metrics = metrics});
    return started.ok() ? std::string("started") : started.error().field;
  };
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.expert_parallel = 0; }), "expert_parallel");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.engine = "fake"; }), "expert_parallel");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.tensor_parallel = 2; }), "tensor_parallel");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.group.processes = 2; }), "group.processes");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.advertise = "host:7100"; }), "advertise");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.rank_listen = {"a:1", "b:2"}; }), "rank_listen");
  EXPECT_EQ(refusal([](WorkerConfig& c) {
              c.expert_parallel = 1;
              c.rank_listen = {"a:1"};
            }),
            "rank_listen");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.listen = "127.0.0.1:65535"; }), "listen");
}

}  // namespace
}  // namespace fathom
