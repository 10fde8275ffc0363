#include "net/http_client.h"

#include <gtest/gtest.h>

#include <set>

#include "net/http_server.h"
#include "net/http_threads.h"
#include "net/ports.h"

namespace fathom {
namespace {

// Answers with what it was asked, in pieces under /stream, and never under /never.
class Echo final : public HttpHandler {
 public:
  void handle(std::shared_ptr<HttpExchange> exchange) override {
    const ServerRequest& request = exchange->request();
    if (request.path == "/never") {
      waiting_.push_back(std::move(exchange));
      return;
    }
    const std::string text = request.method + " " + request.path + " " + request.body;
    if (request.path != "/stream") {
      ServerResponse response{.status = request.path == "/missing" ? 404 : 200,
                              .content_type = "text/plain",
                              .body = text};
      if (!request.body.empty()) response.headers.emplace_back("retry-after", request.body);
      exchange->respond(std::move(response));
      return;
    }
    exchange->start_stream({.content_type = "text/plain", .body = text});
    for (int i = 0; i < 100; ++i) exchange->write("," + std::to_string(i));
    exchange->finish();
  }
  ServerResponse refuse(int status, std::string_view message) override {
    return {.status = status, .body = std::string(message)};
  }

 private:
  std::vector<std::shared_ptr<HttpExchange>> waiting_;
};

class HttpClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = start_http_server({}, *threads_, handler_);
    ASSERT_TRUE(server.ok()) << server.error().text();
    server_ = std::move(server).value();
    address_ = parse_http_url("http://" + server_->address()).value();
  }
  void TearDown() override { server_->stop(); }

  Echo handler_;
  std::unique_ptr<HttpThreads> threads_ = make_http_threads(1);
  std::unique_ptr<HttpServer> server_;
  HttpAddress address_;
};

TEST_F(HttpClientTest, one_call_returns_status_and_body) {
  const auto found = http_call(address_, {.method = "POST", .target = "/here", .body = "x"});
  ASSERT_TRUE(found.ok()) << found.error().text();
  EXPECT_EQ(found->status, 200);
  EXPECT_EQ(found->body, "POST /here x");
  EXPECT_EQ(http_call(address_, {.target = "/missing"})->status, 404);
}

TEST_F(HttpClientTest, a_stream_comes_whole_and_many_share_few_connections) {
  const auto client = make_http_client(address_);
  std::string expected = "GET /stream ";
  for (int i = 0; i < 100; ++i) expected += "," + std::to_string(i);
  int good = 0;
  int left = 50;
  std::function<void()> next = [&] {
    if (left-- <= 0) return;
    auto text = std::make_shared<std::string>();
    client->send({.target = "/stream"},
                 {.head = [](const HttpHead& head) { EXPECT_EQ(head.status, 200); },
                  .body = [text](std::string_view piece) { *text += piece; },
                  .done =
                      [&, text](const Status& end) {
                        good += end.ok() && *text == expected ? 1 : 0;
                        next();
                      }});
  };
  for (int user = 0; user < 5; ++user) next();
  client->run();
  EXPECT_EQ(good, 50);
  EXPECT_LE(server_->connections(), 10);
}

TEST_F(HttpClientTest, the_time_to_come_again_is_told_where_it_is_a_number) {
  const auto told = [&](const std::string& text) {
    std::optional<Duration> out;
    const auto client = make_http_client(address_);
    client->send(
        {.method = "POST", .target = "/later", .headers = {}, .body = text},
        {.head = [&](const HttpHead& head) { out = head.retry_after; }, .body = {}, .done = {}});
    client->run();
    return out;
  };
  EXPECT_EQ(told("7"), Duration::seconds(7));
  EXPECT_EQ(told("0"), Duration::seconds(0));
  for (const char* text : {"", "-1", "1.5", "7 s", "Fri, 27 Nov 2026 00:00:00 GMT", "99999999999"})
    EXPECT_FALSE(told(text)) << text;
}

TEST_F(HttpClientTest, patience_ends) {
  const auto answer = http_call(address_, {.target = "/never", .patience = Duration::ms(50)});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Code::deadline_exceeded);
}

TEST_F(HttpClientTest, tasks_run_later_in_order) {
  const auto client = make_http_client(address_);
  std::string order;
  client->after(Duration::ms(500), [&] { order += "b"; });  // far apart even on a slow machine
  client->after(Duration::ms(1), [&] { order += "a"; });
  client->run();
  EXPECT_EQ(order, "ab");
}

TEST(HttpClient, nobody_there_is_unavailable) {
  const uint16_t port = free_ports(1).value()[0];
  const auto answer =
      http_call({.host = "127.0.0.1", .port = std::to_string(port), .prefix = {}}, {});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Code::unavailable);
}

TEST(HttpClient, urls_are_read_and_others_refused) {
  const auto address = parse_http_url("http://example.org:81/some/where/");
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->host, "example.org");
  EXPECT_EQ(address->port, "81");
  EXPECT_EQ(address->prefix, "/some/where");
  EXPECT_EQ(parse_http_url("http://host")->port, "80");
  for (const char* bad : {"", "host:80", "https://host", "http://", "ftp://host"})
    EXPECT_FALSE(parse_http_url(bad).ok()) << bad;
}

TEST(Ports, found_ports_differ_and_are_free) {
  const auto ports = free_ports(20);
  ASSERT_TRUE(ports.ok());
  EXPECT_EQ(std::set<uint16_t>(ports->begin(), ports->end()).size(), 20u);
  EXPECT_TRUE(port_is_free((*ports)[0]).ok());
}

// Where a port comes from that is free now and taken by a connection a moment later.
TEST(Ports, found_ports_are_none_that_connections_get) {
  const auto ports = free_ports(200, 20000);
  ASSERT_TRUE(ports.ok());
  for (const uint16_t port : *ports) {
    EXPECT_GE(port, 10000);
    EXPECT_LT(port, 20000);
  }
}

TEST(Ports, a_system_that_gives_all_to_connections_still_has_some) {
  const auto ports = free_ports(5, 10002);
  ASSERT_TRUE(ports.ok());
  EXPECT_EQ(std::set<uint16_t>(ports->begin(), ports->end()).size(), 5u);
  EXPECT_EQ(free_ports(3, 1024)->size(), 3u);
}

TEST_F(HttpClientTest, a_port_that_is_listened_on_is_not_free) {
  EXPECT_FALSE(port_is_free(static_cast<uint16_t>(std::stoi(address_.port))).ok());
}

}  // namespace
}  // namespace fathom
