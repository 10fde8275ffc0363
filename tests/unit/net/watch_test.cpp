// Can somebody watch a router, miss nothing when the stream breaks, and stop?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "mailbox.h"
#include "net/grpc_server.h"
#include "net/watch_link.h"
#include "net/watch_service.h"

namespace fathom {
namespace {

class Router final : public WatcherEvents {
 public:
  explicit Router(const std::string& listen = "127.0.0.1:0", const WatchOptions& options = {})
      : service(make_watch_service(*this, options)) {
    auto started = start_grpc_server({.listen = listen, .services = {&service->grpc()}});
    EXPECT_TRUE(started.ok()) << started.error().text();
    server = std::move(started).value();
  }
  ~Router() override {
    service->stop();
    server->stop({});
  }
  void on_watcher_up(WatcherId watcher, const WatchFrom& from) override {
    ups.put({watcher, from});
  }
  void on_watcher_down(WatcherId watcher) override { downs.put(watcher); }

  Mailbox<std::pair<WatcherId, WatchFrom>> ups;
  Mailbox<WatcherId> downs;
  std::unique_ptr<WatchService> service;
  std::unique_ptr<GrpcServer> server;
};

class Gateway final : public WatchEvents {
 public:
  explicit Gateway(const std::string& address) : link(connect_watch(address, *this)) {}
  WatchFrom watched_so_far() override { return {.second = seen, .happening = 0}; }
  void on_update(ClusterUpdate update) override {
    for (const WatchedSecond& second : update.seconds) seen = second.number;
    updates.put(std::move(update));
    std::unique_lock lock(gate);  // a test that holds it makes us a slow reader
  }
  void on_watch_lost(const Error& why) override { lost.put(std::string(code_name(why.code))); }

  std::mutex gate;
  std::atomic<int64_t> seen = 0;
  Mailbox<ClusterUpdate> updates;
  Mailbox<std::string> lost;
  std::unique_ptr<WatchLink> link;
};

ClusterUpdate second(int64_t number) { return {.seconds = {{.number = number}}}; }

TEST(Watch, nobody_is_watched_until_somebody_wants_to) {
  Router router;
  Gateway gateway(router.server->address());
  EXPECT_TRUE(router.ups.empty());
  gateway.link->watch(true);
  const auto [watcher, from] = router.ups.take();
  EXPECT_EQ(from, WatchFrom{});
  for (int64_t i = 1; i <= 10; ++i) router.service->send(watcher, second(i));
  for (int64_t i = 1; i <= 10; ++i) EXPECT_EQ(gateway.updates.take(), second(i));
  gateway.link->watch(false);
  EXPECT_EQ(router.downs.take(), watcher);
  EXPECT_TRUE(gateway.lost.empty());
  gateway.link->watch(true);
  EXPECT_EQ(router.ups.take().second.second, 10);
}

TEST(Watch, a_router_that_comes_back_is_told_what_is_known) {
  auto router = std::make_unique<Router>();
  const std::string address = router->server->address();
  Gateway gateway(address);
  gateway.link->watch(true);
  router->service->send(router->ups.take().first, second(41));
  gateway.updates.take();
  router.reset();
  EXPECT_EQ(gateway.lost.take(), "UNAVAILABLE");
  router = std::make_unique<Router>(address);
  const auto [watcher, from] = router->ups.take();
  EXPECT_EQ(from.second, 41);
  router->service->send(watcher, second(42));
  EXPECT_EQ(gateway.updates.take(), second(42));
  EXPECT_TRUE(gateway.lost.empty());
}

TEST(Watch, a_router_that_is_away_is_said_to_be_lost_once) {
  std::string address;
  { address = Router().server->address(); }
  Gateway gateway(address);
  gateway.link->watch(true);
  EXPECT_EQ(gateway.lost.take(), "UNAVAILABLE");
  Router router(address);
  router.service->send(router.ups.take().first, second(1));
  EXPECT_EQ(gateway.updates.take(), second(1));
  EXPECT_TRUE(gateway.lost.empty());
}

TEST(Watch, one_that_does_not_read_is_cut_off_and_comes_again) {
  Router router;
  Gateway gateway(router.server->address());
  std::unique_lock closed(gateway.gate);
  gateway.link->watch(true);
  const WatcherId watcher = router.ups.take().first;
  ClusterUpdate large = second(1);
  large.view.workers.resize(64);
  for (WatchedWorker& worker : large.view.workers) worker.step_means.assign(kWatchedSteps, 0.5f);
  router.service->send(watcher, large);
  gateway.updates.take();  // it knows that one, and reads no other
  for (int i = 0; i < 2000; ++i) router.service->send(watcher, large);
  EXPECT_EQ(router.downs.take(), watcher);
  closed.unlock();
  EXPECT_EQ(router.ups.take().second.second, 1);
}

TEST(Watch, there_is_a_bound_on_watchers) {
  Router router("127.0.0.1:0", {.watchers_max = 1});
  Gateway first(router.server->address()), second(router.server->address());
  first.link->watch(true);
  router.ups.take();
  second.link->watch(true);
  EXPECT_EQ(second.lost.take(), "RESOURCE_EXHAUSTED");
  first.link->watch(false);
  router.ups.take();  // tried again, and now there is room
}

}  // namespace
}  // namespace fathom
