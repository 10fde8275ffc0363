// Do a router and a worker find, hear and fence each other over a real socket?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "mailbox.h"
#include "net/drive_link.h"
#include "net/drive_service.h"
#include "net/grpc_server.h"

namespace fathom {
namespace {

Welcome some_welcome(uint64_t instance = 7) {
  Welcome welcome;
  welcome.instance = instance;
  welcome.model = "tiny";
  welcome.model_digest = "abc";
  welcome.kv = {.kind = "fake", .layers = 1, .width = 1, .block_tokens = 16, .block_bytes = 64};
  welcome.blocks = 100;
  welcome.rows_max = 8;
  welcome.context_max = 4096;
  welcome.vocab = 512;
  return welcome;
}

// A worker that notes what it hears.
class Worker final : public DriveHandler {
 public:
  explicit Worker(Welcome says = some_welcome(), const std::string& listen = "127.0.0.1:0")
      : welcome(std::move(says)), service(make_drive_service(*this)) {
    auto started = start_grpc_server({.listen = listen, .services = {&service->grpc()}});
    EXPECT_TRUE(started.ok()) << started.error().text();
    server = std::move(started).value();
  }
  ~Worker() override {
    service->stop();
    server->stop({});
  }
  Result<Welcome> on_hello(const Hello& hello) override {
    hellos.put(hello);
    if (refusal) return *refusal;
    return welcome;
  }
  void on_edits(Edits batch) override {
    for (Edit& edit : batch) edits.put(std::move(edit));
  }
  void on_router_gone() override { gone.put(true); }

  Welcome welcome;
  std::optional<Error> refusal;
  Mailbox<Hello> hellos;
  Mailbox<Edit> edits;
  Mailbox<bool> gone;
  std::unique_ptr<DriveService> service;
  std::unique_ptr<GrpcServer> server;
};

// A router that notes what it hears.
class Router final : public WorkerEvents {
 public:
  struct Heard {
    WorkerId worker;
    std::string address;
    Report report;
  };
  struct Down {
    WorkerId worker;
    std::string address;
    Error why;
  };
  explicit Router(uint64_t epoch = 1)
      : links(make_drive_links({.epoch = epoch, .step_token_budget = 64}, *this)) {}
  ~Router() override { links->stop(); }
  void on_worker_report(WorkerId worker, const std::string& address, Report report) override {
    reports.put({worker, address, std::move(report)});
  }
  void on_worker_down(WorkerId worker, const std::string& address, const Error& why) override {
    downs.put({worker, address, why});
  }
  Mailbox<Heard> reports;
  Mailbox<Down> downs;
  std::unique_ptr<DriveLinks> links;
};

bool has_code(const Router::Down& down, Code code) { return down.why.code == code; }

TEST(Drive, hello_and_welcome_open_a_stream_and_messages_travel_both_ways_in_order) {
  Worker worker;
  Router router(5);
  router.links->add(worker.server->address());
  const auto first = router.reports.take();
  EXPECT_EQ(first.report.welcome, worker.welcome);
  EXPECT_EQ(first.address, worker.server->address());
  EXPECT_EQ(worker.hellos.take(), (Hello{.epoch = 5, .step_token_budget = 64}));

  for (uint64_t i = 1; i <= 500; ++i) router.links->send(first.worker, {Drop{SeqId{i}}});
  for (uint64_t i = 1; i <= 500; ++i) EXPECT_EQ(worker.edits.take(), Edit(Drop{SeqId{i}}));
  for (uint64_t i = 1; i <= 500; ++i) {
    Report report;
    report.step = i;
    report.rows = {{.seq = SeqId{i}, .tokens = {1, 2}}};
    worker.service->send(std::move(report));
  }
  for (uint64_t i = 1; i <= 500; ++i) {
    const auto heard = router.reports.take();
    EXPECT_EQ(heard.report.step, i);
    EXPECT_EQ(heard.report.rows.at(0).seq, SeqId{i});
    EXPECT_EQ(heard.worker, first.worker);
  }
}

TEST(Drive, lower_epoch_is_refused_naming_epoch_and_the_newer_router_is_not_disturbed) {
  Worker worker;
  Router newer(10);
  newer.links->add(worker.server->address());
  const auto first = newer.reports.take();
  Router older(9);
  older.links->add(worker.server->address());
  const auto down = older.downs.take();
  EXPECT_EQ(down.why.code, Code::failed_precondition);
  EXPECT_EQ(down.why.field, "epoch");
  newer.links->send(first.worker, {Drop{SeqId{1}}});
  EXPECT_EQ(worker.edits.take(), Edit(Drop{SeqId{1}}));
  EXPECT_TRUE(worker.gone.empty());
  EXPECT_TRUE(older.reports.empty());
}

TEST(Drive, higher_epoch_takes_over_and_the_old_router_hears_no_more) {
  Worker worker;
  Router older(1);
  older.links->add(worker.server->address());
  const auto old = older.reports.take();
  Router newer(2);
  newer.links->add(worker.server->address());
  const auto fresh = newer.reports.take();
  EXPECT_EQ(older.downs.take().why.code, Code::aborted);
  older.links->send(old.worker, {Drop{SeqId{66}}});  // into the void
  newer.links->send(fresh.worker, {Drop{SeqId{77}}});
  EXPECT_EQ(worker.edits.take(), Edit(Drop{SeqId{77}}));
  EXPECT_EQ(
      older.downs.take_until([](const auto& d) { return has_code(d, Code::failed_precondition); })
          .why.field,
      "epoch");
}

TEST(Drive, other_protocol_is_refused_naming_protocol_on_either_side) {
  Worker worker;
  struct Silent : WorkerEvents {
    void on_worker_report(WorkerId, const std::string&, Report) override {}
    void on_worker_down(WorkerId, const std::string&, const Error& why) override { whys.put(why); }
    Mailbox<Error> whys;
  } events;
  const auto links = make_drive_links({.protocol = 99, .epoch = 1}, events);
  links->add(worker.server->address());
  EXPECT_EQ(events.whys.take().field, "protocol");
  links->stop();

  Welcome foreign = some_welcome();
  foreign.protocol = 98;
  Worker future(foreign);
  Router router;
  router.links->add(future.server->address());
  const auto down = router.downs.take();
  EXPECT_EQ(down.why.code, Code::failed_precondition);
  EXPECT_EQ(down.why.field, "protocol");
  EXPECT_TRUE(router.reports.empty());
}

TEST(Drive, refusal_of_the_worker_reaches_the_router_with_its_field) {
  Worker worker;
  worker.refusal = Error{Code::failed_precondition, "not on a Monday", "step_token_budget"};
  Router router;
  router.links->add(worker.server->address());
  EXPECT_EQ(router.downs.take().why, *worker.refusal);
}

TEST(Drive, restarted_worker_is_found_again_under_a_new_id) {
  auto worker = std::make_unique<Worker>(some_welcome(1));
  const std::string address = worker->server->address();
  Router router;
  router.links->add(address);
  const auto before = router.reports.take();
  worker.reset();
  EXPECT_EQ(router.downs.take().worker, before.worker);
  worker = std::make_unique<Worker>(some_welcome(2), address);
  const auto after = router.reports.take();
  EXPECT_NE(after.worker, before.worker);
  EXPECT_EQ(after.report.welcome->instance, 2u);
  EXPECT_EQ(after.address, address);
}

TEST(Drive, worker_that_starts_after_its_router_is_found) {
  std::string address;
  {
    Worker probe;
    address = probe.server->address();
  }
  Router router;
  router.links->add(address);
  EXPECT_EQ(router.downs.take().why.code, Code::unavailable);
  Worker worker(some_welcome(), address);
  EXPECT_TRUE(router.reports.take().report.welcome.has_value());
}

TEST(Drive, every_address_of_a_name_is_one_worker_and_localhost_is_one_name) {
  Worker worker;
  Router router;
  router.links->add("dns:///localhost:" + std::to_string(worker.server->port()));
  EXPECT_EQ(router.reports.take().address, worker.server->address());
}

TEST(Drive, worker_hears_that_its_router_left) {
  Worker worker;
  auto router = std::make_unique<Router>();
  router->links->add(worker.server->address());
  router->reports.take();
  router.reset();
  EXPECT_TRUE(worker.gone.take());
}

TEST(Drive, disconnected_worker_goes_down_with_the_given_reason) {
  Worker worker;
  Router router;
  router.links->add(worker.server->address());
  const auto first = router.reports.take();
  const Error why{Code::failed_precondition, "another model", "model_digest"};
  router.links->disconnect(first.worker, why);
  EXPECT_EQ(router.downs.take().why, why);
  EXPECT_TRUE(worker.gone.take());
}

TEST(Drive, port_in_use_is_an_error_naming_the_address) {
  Worker worker;
  const auto second = start_grpc_server({.listen = worker.server->address()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().text(), testing::HasSubstr(worker.server->address()));
}

}  // namespace
}  // namespace fathom
