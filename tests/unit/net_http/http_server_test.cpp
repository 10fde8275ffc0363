// Does the server keep its word to clients that are well-behaved, slow, large, rude or gone?
#include "net/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>

#include "net/http_operations.h"
#include "tests/unit/net_http/raw_client.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Echoes bodies; on /hold it waits to be told.
class Handler : public HttpHandler {
 public:
  void handle(std::shared_ptr<HttpExchange> exchange) override {
    const ServerRequest& request = exchange->request();
    if (request.path == "/echo")
      return exchange->respond({.content_type = "text/plain",
                                .body = request.method + " " + request.query + " " + request.body});
    if (request.path == "/stream") {
      exchange->start_stream({.content_type = "text/plain", .body = "a"});
      exchange->write("bc");
      exchange->write("");
      return exchange->finish("d");
    }
    if (request.path == "/flood") return flood(exchange);
    exchange->on_closed([this, exchange](HttpClosed why) {
      if (why == HttpClosed::by_client) exchange->respond({.status = 499, .body = "gone"});
      note(why);
    });
    const std::lock_guard lock(mutex_);
    held_ = exchange;
    changed_.notify_all();
  }
  ServerResponse refuse(int status, std::string_view message) override {
    return {.status = status, .content_type = "text/plain", .body = std::string(message)};
  }
  std::shared_ptr<HttpExchange> wait_held() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return held_ != nullptr; });
    return std::exchange(held_, nullptr);
  }
  std::optional<HttpClosed> wait_closed() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return closed_.has_value(); });
    return closed_;
  }

 private:
  void flood(const std::shared_ptr<HttpExchange>& exchange) {
    exchange->on_closed([this](HttpClosed why) { note(why); });
    exchange->start_stream({});
    const std::string piece(64 << 10, 'x');
    while (exchange->write(piece)) {
    }
  }
  void note(HttpClosed why) {
    const std::lock_guard lock(mutex_);
    closed_ = why;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<HttpExchange> held_;
  std::optional<HttpClosed> closed_;
};

class HttpServerTest : public testing::Test {
 protected:
  void start(HttpLimits limits = {}) {
    auto server = start_http_server({.limits = limits, .id_seed = 7}, *threads_, handler_);
    ASSERT_TRUE(server.ok()) << server.error().text();
    server_ = std::move(*server);
  }
  void TearDown() override {
    if (server_) server_->stop();
    threads_->stop();
  }
  std::string address() const { return server_->address(); }

  Handler handler_;
  std::unique_ptr<HttpThreads> threads_ = make_http_threads(2);
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, answers_and_keeps_the_connection) {
  start();
  RawClient client(address());
  for (int i = 0; i < 3; ++i) {
    client.send(raw_request("POST", "/echo?a=1", "hello"));
    const RawResponse response = client.read_response();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "POST a=1 hello");
  }
}

TEST_F(HttpServerTest, pipelined_requests_are_answered_in_order) {
  start();
  RawClient client(address());
  client.send(raw_request("POST", "/echo", "1") + raw_request("POST", "/echo", "2") +
              raw_request("POST", "/echo", "3"));
  for (const char* body : {"POST  1", "POST  2", "POST  3"})
    EXPECT_EQ(client.read_response().body, body);
}

TEST_F(HttpServerTest, a_request_pipelined_behind_a_long_one_is_not_lost) {
  start();
  RawClient client(address());
  client.send(raw_request("GET", "/hold", ""));
  const auto held = handler_.wait_held();
  ASSERT_TRUE(held);
  client.send(raw_request("POST", "/echo", "next"));
  threads_->post(held->thread(), [held] { held->respond({.body = "held"}); });
  EXPECT_EQ(client.read_response().body, "held");
  EXPECT_EQ(client.read_response().body, "POST  next");
}

TEST_F(HttpServerTest, a_stream_is_chunked_and_complete) {
  start();
  const RawResponse response = ask(address(), "GET", "/stream");
  EXPECT_EQ(response.headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(response.body, "abcd");
  EXPECT_TRUE(response.complete);
}

TEST_F(HttpServerTest, http_1_0_gets_a_plain_body_and_a_close) {
  start();
  RawClient client(address());
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const std::string all = client.read_to_end();
  EXPECT_THAT(all, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(all, HasSubstr("connection: close"));
  EXPECT_TRUE(all.ends_with("\r\n\r\nabcd")) << all;
}

TEST_F(HttpServerTest, request_ids_are_unique_and_a_clients_own_is_kept) {
  start();
  std::set<std::string> seen;
  for (int i = 0; i < 20; ++i)
    seen.insert(ask(address(), "GET", "/echo").headers.at("x-request-id"));
  EXPECT_EQ(seen.size(), 20u);
  EXPECT_EQ(
      ask(address(), "GET", "/echo", "", "X-Request-Id: mine-1\r\n").headers.at("x-request-id"),
      "mine-1");
  EXPECT_NE(
      ask(address(), "GET", "/echo", "", "X-Request-Id: not mine\r\n").headers.at("x-request-id"),
      "not mine");
}

TEST_F(HttpServerTest, too_large_a_body_is_413_and_the_client_reads_it) {
  start({.body_bytes_max = 1 << 20});
  RawClient client(address());
  client.send(raw_request("POST", "/echo", std::string(3 << 20, 'x')));
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.status, 413);
  EXPECT_THAT(response.body, HasSubstr("1048576"));
}

TEST_F(HttpServerTest, too_large_a_chunked_body_is_413) {
  start({.body_bytes_max = 1000});
  RawClient client(address());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.send("800\r\n" + std::string(0x800, 'x') + "\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 413);
}

TEST_F(HttpServerTest, too_large_a_header_is_431) {
  start({.header_bytes_max = 4096});
  RawClient client(address());
  client.send("GET /echo HTTP/1.1\r\nX-Long: " + std::string(10000, 'x') + "\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 431);
}

TEST_F(HttpServerTest, what_is_not_http_is_400) {
  start();
  RawClient client(address());
  client.send("NONSENSE\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 400);
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, a_slow_header_is_408) {
  start({.header_seconds_max = 0.05});
  RawClient client(address());
  client.send("GET /echo HTT");
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.status, 408);
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, a_slow_body_is_408) {
  start({.body_seconds_max = 0.05});
  RawClient client(address());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(client.read_response().status, 408);
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, a_silent_connection_is_closed_without_a_word) {
  start({.idle_seconds_max = 0.05});
  RawClient client(address());
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, expect_continue_is_answered_before_the_body) {
  start();
  RawClient client(address());
  client.send(
      "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_EQ(client.read_response().body, "POST  ok");
}

TEST_F(HttpServerTest, a_client_that_leaves_is_noticed_while_the_handler_works) {
  start();
  RawClient client(address());
  client.send(raw_request("GET", "/hold", ""));
  ASSERT_TRUE(handler_.wait_held());
  client.close();
  EXPECT_EQ(handler_.wait_closed(), HttpClosed::by_client);
}

TEST_F(HttpServerTest, a_half_closed_client_counts_as_gone_but_still_reads_the_answer) {
  start();
  RawClient client(address());
  client.send(raw_request("GET", "/hold", ""));
  ASSERT_TRUE(handler_.wait_held());
  client.half_close();
  EXPECT_EQ(handler_.wait_closed(), HttpClosed::by_client);
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.status, 499);
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, a_client_half_closed_in_the_middle_of_a_request_is_told) {
  start();
  RawClient client(address());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
  client.half_close();
  EXPECT_EQ(client.read_response().status, 400);
}

TEST_F(HttpServerTest, a_client_that_does_not_read_is_cut_off_by_amount) {
  start({.stream_buffer_max = 1 << 20});
  RawClient client(address(), 4096);
  client.send(raw_request("GET", "/flood", ""));
  EXPECT_EQ(handler_.wait_closed(), HttpClosed::too_slow);
}

TEST_F(HttpServerTest, a_client_that_does_not_read_is_cut_off_by_time) {
  start({.write_seconds_max = 0.05, .stream_buffer_max = 64 << 20});
  RawClient client(address(), 4096);
  client.send(raw_request("GET", "/hold", ""));
  const auto held = handler_.wait_held();
  ASSERT_TRUE(held);
  threads_->post(held->thread(), [held] {
    held->start_stream({});
    held->write(std::string(32 << 20, 'x'));
  });
  EXPECT_EQ(handler_.wait_closed(), HttpClosed::too_slow);
}

TEST_F(HttpServerTest, too_many_connections_are_told_so) {
  start({.connections_max = 1});
  RawClient first(address());
  first.send(raw_request("GET", "/echo", ""));
  EXPECT_EQ(first.read_response().status, 200);
  RawClient second(address());
  EXPECT_EQ(second.read_response().status, 503);
}

TEST_F(HttpServerTest, draining_closes_connections_after_their_answer) {
  start();
  RawClient client(address());
  client.send(raw_request("GET", "/hold", ""));
  const auto held = handler_.wait_held();
  ASSERT_TRUE(held);
  server_->drain();
  threads_->post(held->thread(), [held] { held->respond({.body = "done"}); });
  EXPECT_EQ(client.read_response().body, "done");
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, draining_closes_silent_connections) {
  start();
  RawClient client(address());
  client.send(raw_request("GET", "/echo", ""));
  EXPECT_EQ(client.read_response().status, 200);
  server_->drain();
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, stopping_tells_the_handler_and_closes_everything) {
  start();
  RawClient client(address());
  client.send(raw_request("GET", "/hold", ""));
  ASSERT_TRUE(handler_.wait_held());
  server_->stop();
  EXPECT_EQ(handler_.wait_closed(), HttpClosed::by_server);
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, a_port_in_use_is_an_error_naming_the_address) {
  start();
  const auto second = start_http_server({.listen = address()}, *threads_, handler_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::unavailable);
  EXPECT_THAT(second.error().message, HasSubstr(address()));
}

TEST_F(HttpServerTest, an_address_that_can_not_be_read_is_an_error_naming_it) {
  for (const char* bad : {"nonsense", "127.0.0.1:http-ish", "256.256.256.256.1:80"}) {
    const auto server = start_http_server({.listen = bad}, *threads_, handler_);
    ASSERT_FALSE(server.ok()) << bad;
    EXPECT_EQ(server.error().field, bad);
  }
}

TEST_F(HttpServerTest, percent_encoded_paths_are_decoded_and_bad_ones_refused) {
  start();
  EXPECT_EQ(ask(address(), "GET", "/%65cho").body, "GET  ");
  EXPECT_EQ(ask(address(), "GET", "/%6").status, 400);
  EXPECT_EQ(ask(address(), "GET", "http://test/echo").status, 200);
}

TEST_F(HttpServerTest, head_has_the_length_but_no_body) {
  start();
  RawClient client(address());
  client.send("HEAD /echo HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  const std::string all = client.read_to_end();
  EXPECT_THAT(all, HasSubstr("content-length: 6"));
  EXPECT_TRUE(all.ends_with("\r\n\r\n"));
}

TEST(Operations, shows_metrics_health_and_version) {
  Metrics metrics;
  metrics.counter("fathom_test_total", "A test.").Increment(3);
  std::atomic<bool> loading = true;
  auto operations = serve_operations(
      "127.0.0.1:0", metrics, [&] { return std::string(loading ? "weights are loading" : ""); });
  ASSERT_TRUE(operations.ok());
  const std::string address = (*operations)->address();
  EXPECT_THAT(ask(address, "GET", "/metrics").body, HasSubstr("fathom_test_total 3"));
  EXPECT_EQ(ask(address, "GET", "/health/live").status, 200);
  const RawResponse not_ready = ask(address, "GET", "/health/ready");
  EXPECT_EQ(not_ready.status, 503);
  EXPECT_THAT(not_ready.body, HasSubstr("weights are loading"));
  loading = false;
  EXPECT_EQ(ask(address, "GET", "/health/ready").status, 200);
  EXPECT_THAT(ask(address, "GET", "/version").body, HasSubstr("\"version\""));
  EXPECT_EQ(ask(address, "GET", "/").status, 404);
  EXPECT_EQ(ask(address, "POST", "/metrics", "x").status, 405);
}

}  // namespace
}  // namespace fathom
