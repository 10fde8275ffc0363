// Whole workers over real gRPC in one process: the handshake, a split request, damage on the wire,
// draining, and what wrong settings are told.
#include "worker/worker.h"

#include <gmock/gmock.h>

#include <atomic>

#include "engine/fake_engine.h"
#include "net/http_client.h"
#include "net/ports.h"
#include "tests/unit/worker/seat.h"
#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::kPatience;
using stage::prompt_of;
using stage::Seat;
using ::testing::HasSubstr;

constexpr SeqId kA{1}, kB{2};

WorkerConfig fake_config(const std::string& role) {
  WorkerConfig config;
  config.engine = "fake";
  config.name = "story";
  config.role = role;
  config.listen = "127.0.0.1:0";
  config.operations_listen = "127.0.0.1:0";
  config.block_tokens = 4;
  config.kv_blocks = 64;
  config.fake.context_max = 200;
  config.fake.vocab = 300;
  return config;
}

struct Running {
  explicit Running(const WorkerConfig& config, uint64_t instance = 5, BlockFault fault = {}) {
    auto started = start_worker(config, {.clock = clock,
                                         .metrics = metrics,
                                         .instance = instance,
                                         .block_fault = std::move(fault),
                                         .on_end = [this] { ++ends; }});
    CHECK(started.ok(), "the worker starts");
    worker = std::move(started).value();
  }
  std::string address() const { return worker->address(); }
  SystemClock clock;
  Metrics metrics;
  std::atomic<int> ends = 0;
  std::unique_ptr<Worker> worker;
};

const Sampling kSampling{.temperature = 0.7f, .seed = 3, .max_tokens = 12};
const FakeEngineConfig kFake = {.blocks = 64, .block_tokens = 4, .context_max = 200, .vocab = 300};

struct SplitCell {
  explicit SplitCell(BlockFault fault = {})
      : computes(fake_config("prefill"), 5, std::move(fault)), home(fake_config("decode"), 6) {
    welcome = seat.meet(computes.address());
    seat.meet(home.address());
  }
  // Sends a request through both; returns the whole prompt's length.
  void place(SeqId seq, const std::vector<TokenId>& prompt, uint64_t key) {
    const auto length = static_cast<int32_t>(prompt.size());
    seat.say(home.address(), {Receive{.seq = seq,
                                      .tokens = length,
                                      .blocks = 16,
                                      .ticket = {.address = welcome.fetch_address,
                                                 .instance = welcome.instance,
                                                 .seq = seq,
                                                 .key = key}}});
    seat.say(computes.address(), {Prefill{.seq = seq,
                                          .tokens = prompt,
                                          .prompt_tokens = length,
                                          .sampling = kSampling,
                                          .blocks = 16,
                                          .lease = 1,
                                          .handoff = true,
                                          .key = key}});
  }
  Running computes, home;
  Seat seat;
  Welcome welcome;
};

TEST(WorkerProcess, a_split_request_over_grpc_yields_the_tokens_of_a_single_worker) {
  SplitCell cell;
  const auto prompt = prompt_of(30);
  cell.place(kA, prompt, 99);
  auto tokens = cell.seat.tokens(cell.computes.address(), kA, 1);
  Decode decode{
      .seq = kA, .tokens = prompt, .prompt_tokens = 30, .sampling = kSampling, .lease = 11};
  decode.tokens.push_back(tokens[0]);
  cell.seat.say(cell.home.address(), {decode});
  const auto rest = cell.seat.tokens(cell.home.address(), kA, 11);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  EXPECT_EQ(tokens, expected(kFake, prompt, kSampling, 12));
}

TEST(WorkerProcess, a_block_damaged_on_the_wire_is_found_and_named) {
  SplitCell cell([](int32_t ordinal, std::span<std::byte> bytes) {
    if (ordinal == 3) bytes[5] ^= std::byte{0x10};
    return true;
  });
  cell.place(kA, prompt_of(30), 99);
  EXPECT_EQ(cell.seat.failure(kA).code, Code::data_loss);
  cell.place(kB, prompt_of(9), 98);  // has no fourth block
  cell.seat.await_resident(kB);
}

TEST(WorkerProcess, a_transfer_that_ends_early_is_found) {
  SplitCell cell([](int32_t ordinal, std::span<std::byte>) { return ordinal < 2; });
  cell.place(kA, prompt_of(30), 99);
  EXPECT_EQ(cell.seat.failure(kA).code, Code::data_loss);
}

TEST(WorkerProcess, a_lost_sender_fails_what_it_was_sending) {
  SplitCell cell;
  const std::string lost = cell.computes.address();
  // The home asks for a sequence that never comes, so the fetch is under way when the sender ends.
  cell.seat.say(cell.home.address(), {Receive{.seq = kA,
                                              .tokens = 9,
                                              .blocks = 4,
                                              .ticket = {.address = cell.welcome.fetch_address,
                                                         .instance = cell.welcome.instance,
                                                         .seq = kA,
                                                         .key = 1}}});
  cell.computes.worker->stop();
  EXPECT_TRUE(cell.computes.worker->wait(kPatience));
  EXPECT_EQ(cell.seat.failure(kA).code, Code::unavailable);
  cell.seat.await_down(lost);
}

TEST(WorkerProcess, draining_ends_it_when_its_sequences_have_ended) {
  Running one(fake_config("both"));
  Seat seat;
  seat.meet(one.address());
  seat.say(one.address(), {Prefill{.seq = kA,
                                   .tokens = prompt_of(5),
                                   .prompt_tokens = 5,
                                   .sampling = kSampling,
                                   .blocks = 8,
                                   .lease = 4}});
  EXPECT_EQ(seat.tokens(one.address(), kA, 4).size(), 4u);  // paused now: its lease is spent
  const std::string address = one.address();
  one.worker->drain();
  seat.await_draining(one.address());
  EXPECT_EQ(one.worker->state(), WorkerState::draining);
  EXPECT_THAT(one.worker->not_ready(), HasSubstr("draining"));
  seat.say(one.address(), {Renew{.seq = kA, .lease = 8, .blocks = 0}});
  EXPECT_TRUE(one.worker->wait(kPatience));
  EXPECT_TRUE(one.worker->result().ok());
  EXPECT_EQ(seat.tokens(address, kA, 12), expected(kFake, prompt_of(5), kSampling, 12))
      << "the last report arrives before the end of the stream";
  one.worker.reset();
  EXPECT_EQ(one.ends, 1);
}

TEST(WorkerProcess, a_newer_router_takes_over_and_the_older_is_told) {
  Running one(fake_config("both"));
  Seat older(10);
  older.meet(one.address());
  Seat newer(11);
  newer.meet(one.address());
  const Error why = older.await_down(one.address());
  EXPECT_THAT(why.field + why.message, HasSubstr("epoch"));
}

TEST(WorkerProcess, it_answers_for_its_health_and_counts) {
  Running one(fake_config("both"));
  Seat seat;
  const Welcome welcome = seat.meet(one.address());
  EXPECT_EQ(welcome.model, "story");
  EXPECT_EQ(welcome.fetch_address, one.address());
  EXPECT_EQ(welcome.kv.kind, "fake");
  const HttpAddress at = parse_http_url("http://" + one.worker->operations_address()).value();
  EXPECT_EQ(http_call(at, {.target = "/health/live"})->status, 200);
  EXPECT_EQ(http_call(at, {.target = "/health/ready"})->status, 200);
  const auto metrics = http_call(at, {.target = "/metrics"});
  ASSERT_TRUE(metrics.ok());
  EXPECT_THAT(metrics->body, HasSubstr("fathom_worker_kv_blocks 64"));
  EXPECT_THAT(metrics->body, HasSubstr("fathom_worker_kv_blocks_of_finished 0"));
}

TEST(WorkerProcess, wrong_settings_are_named_before_any_port_opens) {
  SystemClock clock;
  const auto refusal = [&](auto change) {
    WorkerConfig config = fake_config("both");
    change(config);
    Metrics metrics;
    auto started = start_worker(config, {.clock = clock, .metrics = metrics});
    return started.ok() ? Error{Code::ok, "started", ""} : started.error();
  };
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.role = "chef"; }).field, "role");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.compute = "float8"; }).field, "compute");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.kv_dtype = "int4"; }).field, "kv_dtype");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.device = "cuda"; }).field, "device");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.device = "tpu"; }).field, "device");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.block_tokens = 0; }).field, "block_tokens");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.rows_max = 0; }).field, "rows_max");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.prompt_token_budget = -1; }).field,
            "prompt_token_budget");
  EXPECT_EQ(refusal([](WorkerConfig& c) {
              c.prompt_token_budget = 2048;
              c.expert_parallel = 2;
            }).field,
            "prompt_token_budget");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.mixed_step_seconds = -1; }).field,
            "mixed_step_seconds");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.stall_seconds = 0; }).field, "stall_seconds");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.fake.vocab = 2; }).field, "fake.vocab");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.group.processes = 2; }).field, "group.leader");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.listen = "0.0.0.0:0"; }).field, "advertise");
  EXPECT_EQ(refusal([](WorkerConfig& c) { c.engine = "model"; }).field, "model");
  const Error missing = refusal([](WorkerConfig& c) {
    c.engine = "model";
    c.model = "/nowhere/at/all";
  });
  EXPECT_EQ(missing.code, Code::not_found);
  EXPECT_THAT(missing.message, HasSubstr("/nowhere/at/all"));
}

TEST(WorkerProcess, a_port_in_use_is_an_error_that_names_it) {
  Running one(fake_config("both"));
  WorkerConfig config = fake_config("both");
  config.listen = one.address();
  SystemClock clock;
  Metrics metrics;
  const auto second = start_worker(config, {.clock = clock, .metrics = metrics});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().text(), HasSubstr(one.address()));
}

TEST(WorkerProcess, a_checkpoint_that_can_not_be_read_ends_it_with_the_reason) {
  WorkerConfig config = fake_config("both");
  config.engine = "model";
  config.model = FATHOM_SOURCE_DIR "/services";  // a directory without a config.json
  Running one(config);
  EXPECT_TRUE(one.worker->wait(kPatience));
  ASSERT_FALSE(one.worker->result().ok());
  EXPECT_THAT(one.worker->result().error().text(), HasSubstr("config.json"));
}

WorkerConfig group_config(int32_t index, const std::string& leader) {
  WorkerConfig config = fake_config("both");
  config.engine = "model";
  config.model = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16";
  config.tensor_parallel = 2;
  config.threads = 1;
  config.group = {.processes = 2, .index = index, .leader = leader};
  return config;
}

std::vector<TokenId> greedy_tokens(Running& one, SeqId seq, size_t count) {
  Seat seat;
  seat.meet(one.address());
  seat.say(one.address(),
           {Prefill{.seq = seq,
                    .tokens = prompt_of(21),
                    .prompt_tokens = 21,
                    .sampling = {.temperature = 0, .max_tokens = static_cast<int32_t>(count)},
                    .blocks = 16,
                    .lease = static_cast<int32_t>(count)}});
  return seat.tokens(one.address(), seq, count);
}

TEST(WorkerProcess, a_group_over_tcp_computes_what_one_process_computes_and_ends_together) {
  const auto ports = free_ports(1);
  ASSERT_TRUE(ports.ok());
  const std::string meeting = "127.0.0.1:" + std::to_string(ports->front());
  Running follower(group_config(1, meeting));
  Running leader(group_config(0, meeting));
  const auto of_group = greedy_tokens(leader, kA, 20);
  WorkerConfig alone = group_config(0, "");
  alone.group = {};
  Running one(alone);
  EXPECT_EQ(of_group, greedy_tokens(one, kA, 20));
  EXPECT_EQ(follower.worker->state(), WorkerState::serving);
  EXPECT_EQ(follower.worker->address(), "") << "nobody calls a follower";
  leader.worker->drain();
  EXPECT_TRUE(leader.worker->wait(kPatience));
  leader.worker.reset();
  EXPECT_TRUE(follower.worker->wait(kPatience));
  EXPECT_TRUE(follower.worker->result().ok());
}

TEST(WorkerProcess, an_advertised_host_gets_the_bound_port) {
  WorkerConfig config = fake_config("both");
  config.listen = "0.0.0.0:0";
  config.advertise = "localhost";
  Running one(config);
  Seat seat;
  const std::string port = one.address().substr(one.address().rfind(':'));
  EXPECT_EQ(seat.meet("127.0.0.1" + port).fetch_address, "localhost" + port);
}

}  // namespace
}  // namespace fathom
