// Does a request travel from a gateway through the router to workers and back, whatever dies on the
// way?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "net/router_link.h"
#include "net/watch_link.h"
#include "router/router.h"
#include "scripted_worker.h"

namespace fathom {
namespace {

// A gateway that sorts what it hears.
class Gateway final : public RouterEvents {
 public:
  explicit Gateway(const std::string& address) : link(connect_router(address, "test", *this)) {
    EXPECT_EQ(news.take(), "connected");
  }
  void on_events(std::vector<FromRouter> events) override {
    for (FromRouter& event : events) {
      if (auto* state = std::get_if<ClusterState>(&event)) states.put(*state);
      if (auto* more = std::get_if<Tokens>(&event)) tokens.put(std::move(*more));
      if (auto* finished = std::get_if<Finished>(&event)) ends.put(std::move(*finished));
    }
  }
  void on_router_lost(const Error&) override { news.put("lost"); }
  void on_router_connected() override { news.put("connected"); }
  void submit(uint64_t id, int32_t max_tokens, int32_t prompt = 20) {
    Submit submit;
    submit.id = RequestId{id};
    submit.tokens.assign(static_cast<size_t>(prompt), 5);
    submit.prompt_tokens = prompt;
    submit.sampling.max_tokens = max_tokens;
    ASSERT_TRUE(link->send({submit}).ok());
  }
  void wait_ready() {
    states.take_until([](const ClusterState& state) { return state.ready; });
  }
  // The tokens of the one request that runs, checked to have no gap and no repeat.
  std::vector<TokenId> take_answer() {
    std::vector<TokenId> all;
    while (!testing::Test::HasFailure()) {
      const Tokens next = tokens.take();
      EXPECT_EQ(next.first, static_cast<int32_t>(all.size()));
      all.insert(all.end(), next.tokens.begin(), next.tokens.end());
      if (next.finish != Finish::none) break;
    }
    return all;
  }

  Mailbox<ClusterState> states;
  Mailbox<Tokens> tokens;
  Mailbox<Finished> ends;
  Mailbox<std::string> news;
  std::unique_ptr<RouterLink> link;
};

struct Cell : testing::Test {
  void start(std::vector<std::string> workers, RouterConfig config = {}) {
    config.listen = "127.0.0.1:0";
    config.operations_listen = "";
    config.workers = std::move(workers);
    config.state_interval_seconds = 0;
    auto started = start_router(config, {.clock = clock, .metrics = metrics, .epoch = epoch});
    ASSERT_TRUE(started.ok()) << started.error().text();
    router = std::move(started).value();
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << metrics.text();  // where the requests are
  }
  uint64_t epoch = 1000;
  SystemClock clock;
  Metrics metrics;
  std::unique_ptr<Router> router;
};

std::vector<TokenId> counting(int32_t count) {
  std::vector<TokenId> out;
  for (int32_t i = 0; i < count; ++i) out.push_back(100 + i);
  return out;
}

TEST_F(Cell, a_request_travels) {
  ScriptedWorker worker;
  start({worker.address()});
  Gateway gateway(router->address());
  gateway.wait_ready();
  EXPECT_EQ(router->not_ready(), "");
  EXPECT_EQ(worker.hellos.take().epoch, 1000u);
  gateway.submit(1, 200);  // several leases long
  EXPECT_EQ(gateway.take_answer(), counting(200));
  EXPECT_TRUE(router->wait_idle(Duration::seconds(60)));
  const std::string text = metrics.text();
  EXPECT_THAT(text, testing::HasSubstr("fathom_router_requests_total{outcome=\"length\"} 1"));
  EXPECT_THAT(text, testing::HasSubstr("fathom_router_generated_tokens_total 200"));
  EXPECT_THAT(text, testing::HasSubstr("fathom_router_prompt_tokens_total 20"));
  EXPECT_THAT(text, testing::HasSubstr("fathom_router_blocks_of_finished 0"));
  EXPECT_THAT(text, testing::HasSubstr("vllm:num_requests_running{model_name=\"tiny\"} 0"));
  EXPECT_THAT(text, testing::HasSubstr("vllm:cache_config_info{"));
}

TEST_F(Cell, many_requests_of_two_gateways_do_not_mix) {
  ScriptedWorker first(tiny_welcome(1)), second(tiny_welcome(2));
  start({first.address(), second.address()});
  Gateway a(router->address()), b(router->address());
  a.wait_ready();
  b.wait_ready();
  for (uint64_t i = 1; i <= 50; ++i) {
    a.submit(i, 10);
    b.submit(i, 30);
  }
  for (const auto& [gateway, length] : {std::pair(&a, 10), std::pair(&b, 30)}) {
    std::map<RequestId, std::vector<TokenId>> answers;
    for (int ended = 0; ended < 50 && !HasFailure();) {
      const Tokens next = gateway->tokens.take();
      auto& answer = answers[next.id];
      EXPECT_EQ(next.first, static_cast<int32_t>(answer.size()));
      answer.insert(answer.end(), next.tokens.begin(), next.tokens.end());
      if (next.finish != Finish::none) ++ended;
    }
    EXPECT_EQ(answers.size(), 50u);
    for (const auto& [id, answer] : answers) EXPECT_EQ(answer, counting(length));
  }
}

TEST_F(Cell, worker_of_another_model_is_refused_and_the_rest_serves_on) {
  ScriptedWorker good;
  Welcome other = tiny_welcome(2);
  other.model_digest = "digest-b";
  const std::string bad_address = ScriptedWorker(other).address();
  start({good.address(), bad_address});
  Gateway gateway(router->address());
  gateway.wait_ready();
  ScriptedWorker bad(other, bad_address);  // comes second, so it is the one that does not fit
  bad.hellos.take();
  bad.hellos.take();  // it was disconnected, and is asked again
  EXPECT_EQ(router->cluster().decode_workers, 1);
  gateway.submit(1, 5);
  EXPECT_EQ(gateway.take_answer(), counting(5));
}

TEST_F(Cell, full_queue_refuses_with_resource_exhausted_and_when_to_come_back) {
  RouterConfig config;
  config.queue_max = 2;
  config.retry_after_seconds = 3;
  start({"127.0.0.1:1"}, config);  // nobody there: everything waits
  Gateway gateway(router->address());
  for (uint64_t i = 1; i <= 3; ++i) gateway.submit(i, 5);
  const Finished end = gateway.ends.take();
  EXPECT_EQ(end.id, RequestId{3});
  EXPECT_EQ(end.error.code, Code::resource_exhausted);
  EXPECT_EQ(end.retry_after, Duration::seconds(3));
  EXPECT_EQ(router->not_ready(), "no worker is connected");
}

TEST_F(Cell, cancelled_request_ends_once_and_is_dropped_at_the_worker) {
  ScriptedWorker worker;
  worker.hold_after(3);
  start({worker.address()});
  Gateway gateway(router->address());
  gateway.wait_ready();
  gateway.submit(1, 50);
  int32_t seen = 0;
  while (seen < 3 && !HasFailure())
    seen += static_cast<int32_t>(gateway.tokens.take().tokens.size());
  ASSERT_TRUE(gateway.link->send({Cancel{RequestId{1}}}).ok());
  EXPECT_EQ(gateway.ends.take().finish, Finish::cancelled);
  EXPECT_EQ(worker.drops.take(), worker.prefills.take().seq);
  EXPECT_TRUE(router->wait_idle(Duration::seconds(60)));
}

TEST_F(Cell, gateway_that_leaves_takes_its_requests_with_it) {
  ScriptedWorker worker;
  worker.hold_after(1);
  start({worker.address()});
  auto gateway = std::make_unique<Gateway>(router->address());
  gateway->wait_ready();
  gateway->submit(1, 50);
  gateway->tokens.take();
  gateway.reset();
  EXPECT_EQ(worker.drops.take(), worker.prefills.take().seq);
  EXPECT_TRUE(router->wait_idle(Duration::seconds(60)));
}

TEST_F(Cell, worker_that_dies_costs_no_token) {
  auto worker = std::make_unique<ScriptedWorker>(tiny_welcome(1));
  const std::string address = worker->address();
  worker->hold_after(7);
  start({address});
  Gateway gateway(router->address());
  gateway.wait_ready();
  gateway.submit(1, 20);
  std::vector<TokenId> all;
  while (all.size() < 7 && !HasFailure()) {
    const Tokens next = gateway.tokens.take();
    all.insert(all.end(), next.tokens.begin(), next.tokens.end());
  }
  worker.reset();
  worker = std::make_unique<ScriptedWorker>(tiny_welcome(2), address);
  while (all.size() < 20 && !HasFailure()) {
    const Tokens next = gateway.tokens.take();
    EXPECT_EQ(next.first, static_cast<int32_t>(all.size()));
    all.insert(all.end(), next.tokens.begin(), next.tokens.end());
  }
  EXPECT_EQ(all, counting(20));
  EXPECT_THAT(metrics.text(), testing::HasSubstr("fathom_router_recoveries_total 1"));
}

// Somebody who looks on.
class Watcher final : public WatchEvents {
 public:
  explicit Watcher(const std::string& address) : link(connect_watch(address, *this)) {
    link->watch(true);
  }
  WatchFrom watched_so_far() override { return {}; }
  void on_update(ClusterUpdate update) override { updates.put(std::move(update)); }
  void on_watch_lost(const Error&) override {}

  Mailbox<ClusterUpdate> updates;
  std::unique_ptr<WatchLink> link;
};

TEST_F(Cell, whoever_watches_sees_worker_gateway_and_tokens) {
  ScriptedWorker worker;
  RouterConfig config;
  config.watch_interval_seconds = 0.1;
  epoch = uint64_t{1'764'000'000} * 1'000'000'000;  // seconds are numbered by it
  start({worker.address()}, config);
  Gateway gateway(router->address());
  gateway.wait_ready();
  Watcher watcher(router->address());
  const ClusterUpdate first = watcher.updates.take();
  ASSERT_EQ(first.view.workers.size(), 1u);
  EXPECT_EQ(first.view.workers[0].address, worker.address());
  EXPECT_EQ(first.view.workers[0].phase, WorkerPhase::up);
  EXPECT_EQ(first.view.gateways, 1);
  EXPECT_EQ(first.view.model, "tiny");
  gateway.submit(1, 30);
  EXPECT_EQ(gateway.take_answer(), counting(30));
  int64_t generated = 0, ended = 0;
  while (generated < 30 && !HasFailure()) {
    for (const WatchedSecond& second : watcher.updates.take().seconds) {
      generated += second.generated_tokens;
      ended += second.ended[static_cast<size_t>(Outcome::length)];
    }
  }
  EXPECT_EQ(generated, 30);
  EXPECT_EQ(ended, 1);
}

TEST_F(Cell, worker_that_keeps_its_stream_and_stops_stepping_costs_no_token) {
  ScriptedWorker worker;
  worker.hold_after(3);
  start({worker.address()}, {.stall_seconds = 0.2, .watch_interval_seconds = 0.1});
  Gateway gateway(router->address());
  gateway.wait_ready();
  Watcher watcher(router->address());
  worker.hellos.take();
  gateway.submit(1, 10);
  worker.hellos.take();  // its stream was closed, and is opened again
  worker.hold_after(INT32_MAX);
  EXPECT_EQ(gateway.take_answer(), counting(10));
  EXPECT_GE(worker.prefills.take().tokens.size(), 20u);
  EXPECT_EQ(worker.prefills.take().tokens.size(), 23u) << "it goes on behind its third token";
  EXPECT_THAT(metrics.text(),
              testing::ContainsRegex("fathom_router_worker_stalls_total\\{worker=\"" +
                                     worker.address() + "\"\\} [1-9]"));
  for (bool told = false; !told && !HasFailure();)
    for (const Happening& happening : watcher.updates.take().happenings)
      told |= happening.kind == HappeningKind::worker_down &&
              happening.worker == worker.address() &&
              happening.text.find("reported no step for") != std::string::npos;
}

TEST_F(Cell, draining_refuses_what_is_new_and_ends_what_runs) {
  ScriptedWorker worker;
  worker.hold_after(1);
  start({worker.address()});
  Gateway gateway(router->address());
  gateway.wait_ready();
  gateway.submit(1, 3);
  gateway.tokens.take();
  router->drain();
  EXPECT_EQ(router->not_ready(), "draining");
  gateway.submit(2, 3);
  const Finished refused = gateway.ends.take();
  EXPECT_EQ(refused.id, RequestId{2});
  EXPECT_EQ(refused.error.code, Code::unavailable);
  EXPECT_FALSE(router->wait_idle(Duration{0}));
  ASSERT_TRUE(gateway.link->send({Cancel{RequestId{1}}}).ok());
  EXPECT_TRUE(router->wait_idle(Duration::seconds(60)));
}

TEST_F(Cell, wrong_settings_are_refused_by_name) {
  RouterConfig config;
  config.workers = {"127.0.0.1:1"};
  config.lease_tokens = 0;
  const RouterParts parts{.clock = clock, .metrics = metrics, .epoch = 1};
  EXPECT_EQ(start_router(config, parts).error().field, "lease_tokens");
  config.lease_tokens = 1;
  for (const double wrong : {-1.0, 1e9, std::nan("")}) {
    config.stall_seconds = wrong;
    EXPECT_EQ(start_router(config, parts).error().field, "stall_seconds");
  }
  config.stall_seconds = 0;
  config.workers = {"nonsense"};
  EXPECT_EQ(start_router(config, parts).error().field, "workers[0]");
  config.workers = {};
  EXPECT_EQ(start_router(config, parts).error().field, "workers");
}

}  // namespace
}  // namespace fathom
