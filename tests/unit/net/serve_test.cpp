// Do gateways and a router keep one orderly conversation, and find each other again when it breaks?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "mailbox.h"
#include "net/grpc_server.h"
#include "net/router_link.h"
#include "net/serve_service.h"

namespace fathom {
namespace {

class Router final : public GatewayEvents {
 public:
  explicit Router(const std::string& listen = "127.0.0.1:0", const ServeOptions& options = {})
      : service(make_serve_service(*this, options)) {
    auto started = start_grpc_server({.listen = listen, .services = {&service->grpc()}});
    EXPECT_TRUE(started.ok()) << started.error().text();
    server = std::move(started).value();
  }
  ~Router() override {
    service->stop();
    server->stop({});
  }
  void on_gateway_up(GatewayId gateway, const std::string& name) override {
    ups.put({gateway, name});
  }
  void on_gateway_messages(GatewayId, std::vector<ToRouter> batch) override {
    for (ToRouter& message : batch) messages.put(std::move(message));
  }
  void on_gateway_down(GatewayId gateway) override { downs.put(gateway); }

  Mailbox<std::pair<GatewayId, std::string>> ups;
  Mailbox<ToRouter> messages;
  Mailbox<GatewayId> downs;
  std::unique_ptr<ServeService> service;
  std::unique_ptr<GrpcServer> server;
};

class Gateway final : public RouterEvents {
 public:
  explicit Gateway(const std::string& address, const std::string& name = "gw")
      : link(connect_router(address, name, *this)) {}
  void on_events(std::vector<FromRouter> batch) override {
    for (FromRouter& event : batch) events.put(std::move(event));
    std::unique_lock lock(gate);  // a test that holds it makes us a slow reader
  }
  void on_router_lost(const Error& why) override {
    news.put("lost " + std::string(code_name(why.code)));
  }
  void on_router_connected() override { news.put("connected"); }

  std::mutex gate;
  Mailbox<FromRouter> events;
  Mailbox<std::string> news;
  std::unique_ptr<RouterLink> link;
};

Submit some_submit(uint64_t id) {
  Submit submit;
  submit.id = RequestId{id};
  submit.tokens = {1, 2, 3};
  submit.prompt_tokens = 3;
  submit.tenant = "a";
  return submit;
}

TEST(Serve, requests_go_down_and_events_come_up_in_order) {
  Router router;
  Gateway gateway(router.server->address(), "gateway-1");
  EXPECT_EQ(gateway.news.take(), "connected");
  const auto [id, name] = router.ups.take();
  EXPECT_EQ(name, "gateway-1");
  for (uint64_t i = 0; i < 300; ++i)
    ASSERT_TRUE(gateway.link->send({some_submit(i), Cancel{RequestId{i}}}).ok());
  for (uint64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(router.messages.take(), ToRouter(some_submit(i)));
    EXPECT_EQ(router.messages.take(), ToRouter(Cancel{RequestId{i}}));
  }
  for (int32_t i = 0; i < 20000; ++i)
    router.service->send(id, {Tokens{.id = RequestId{1}, .first = i, .tokens = {i}}});
  for (int32_t i = 0; i < 20000; ++i)
    ASSERT_EQ(gateway.events.take(),
              FromRouter(Tokens{.id = RequestId{1}, .first = i, .tokens = {i}}));
}

TEST(Serve, sending_while_not_connected_is_unavailable) {
  std::string address;
  { address = Router().server->address(); }
  Gateway gateway(address);
  const Status status = gateway.link->send({Cancel{RequestId{1}}});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::unavailable);
}

TEST(Serve, restarted_router_is_found_again_and_lost_is_told_once) {
  auto router = std::make_unique<Router>();
  const std::string address = router->server->address();
  Gateway gateway(address);
  EXPECT_EQ(gateway.news.take(), "connected");
  router.reset();
  EXPECT_EQ(gateway.news.take(), "lost UNAVAILABLE");
  router = std::make_unique<Router>(address);
  EXPECT_EQ(gateway.news.take(), "connected");  // and no second "lost" before it
  ASSERT_TRUE(gateway.link->send({some_submit(9)}).ok());
  EXPECT_EQ(router->messages.take(), ToRouter(some_submit(9)));
  EXPECT_TRUE(gateway.news.empty());
}

TEST(Serve, gateway_that_leaves_is_told_after_its_messages) {
  Router router;
  auto gateway = std::make_unique<Gateway>(router.server->address());
  EXPECT_EQ(gateway->news.take(), "connected");
  const GatewayId id = router.ups.take().first;
  gateway.reset();
  EXPECT_EQ(router.downs.take(), id);
  router.service->send(id, {Finished{.id = RequestId{1}}});  // unknown by now: ignored
}

TEST(Serve, each_connection_has_a_gateway_id_of_its_own) {
  Router router;
  Gateway first(router.server->address(), "one"), second(router.server->address(), "two");
  const auto a = router.ups.take(), b = router.ups.take();
  EXPECT_NE(a.first, b.first);
  Gateway& second_up = a.second == "one" ? second : first;
  router.service->send(b.first, {Finished{.id = RequestId{5}}});
  EXPECT_EQ(std::get<Finished>(second_up.events.take()).id, RequestId{5});
}

TEST(Serve, slow_gateway_is_disconnected_and_the_other_is_served) {
  Router router("127.0.0.1:0", {.tokens_queued_max = 100'000});
  Gateway slow(router.server->address(), "slow");
  const GatewayId slow_id = router.ups.take().first;
  Gateway quick(router.server->address(), "quick");
  const GatewayId quick_id = router.ups.take().first;
  std::unique_lock closed(slow.gate);
  const std::vector<TokenId> tokens(1000, 7);
  // More than the bound and every buffer between them (some hundred KB of TCP and HTTP/2 windows).
  for (int i = 0; i < 5000; ++i)
    router.service->send(slow_id, {Tokens{.id = RequestId{1}, .tokens = tokens}});
  router.service->send(quick_id, {Finished{.id = RequestId{2}}});
  EXPECT_EQ(std::get<Finished>(quick.events.take()).id, RequestId{2});
  EXPECT_EQ(router.downs.take(), slow_id);
  closed.unlock();
  EXPECT_EQ(slow.news.take(), "connected");
  EXPECT_THAT(slow.news.take(), testing::StartsWith("lost"));
  EXPECT_TRUE(quick.news.take() == "connected" && quick.news.empty());
}

}  // namespace
}  // namespace fathom
