// What happens when clients leave, routers die, queues are full and time runs out?
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class FlowTest : public GatewayTest {
 protected:
  // A streaming chat that is waiting for its tokens.
  std::unique_ptr<RawClient> open(std::string_view extra = R"(,"stream":true)") {
    auto client = std::make_unique<RawClient>(address());
    client->send(raw_request("POST", "/v1/chat/completions", chat_body(extra)));
    submit_ = router_.next_submit();
    EXPECT_TRUE(submit_.has_value());
    return client;
  }
  void fail_with(Error error, Duration retry_after = {}) {
    router_.tell(
        {Finished{.id = submit_->id, .error = std::move(error), .retry_after = retry_after}});
  }
  std::optional<Submit> submit_;
};

TEST_F(FlowTest, a_client_that_leaves_mid_stream_is_cancelled) {
  start();
  auto client = open();
  router_.tell({tokens_of(*submit_, 0, ids("ab"))});
  client->read_until("content\":\"a");
  client->close();
  EXPECT_EQ(router_.next_cancel()->id, submit_->id);
  EXPECT_TRUE(gateway_->wait_idle(Duration::seconds(10)));
  EXPECT_THAT(ask(address(), "GET", "/metrics").body,
              HasSubstr(R"(choices_ended_total{outcome="cancelled"} 1)"));
}

TEST_F(FlowTest, a_hundred_clients_that_leave_before_the_first_token_leave_nothing_behind) {
  start();
  for (int i = 0; i < 100; ++i) {
    auto client = open(i % 2 == 0 ? R"(,"stream":true)" : "");
    client->close();
    EXPECT_EQ(router_.next_cancel()->id, submit_->id);
  }
  EXPECT_TRUE(gateway_->wait_idle(Duration::seconds(10)));
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/load").body), "/server_load"), "0");
}

TEST_F(FlowTest, a_half_closed_client_is_cancelled_and_told) {
  start();
  auto client = open("");
  client->half_close();
  EXPECT_EQ(router_.next_cancel()->id, submit_->id);
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 499);
  EXPECT_EQ(at(parsed(response.body), "/error/code"), "client_closed_request");
}

TEST_F(FlowTest, a_lost_router_costs_a_pause_but_no_token) {
  start();
  auto client = open();
  const std::vector<TokenId> all = ids("a long answer without any gap 漢字");
  const std::vector<TokenId> before(all.begin(), all.begin() + 5);
  router_.tell({tokens_of(*submit_, 0, before)});
  client->read_until("delta\":{\"content");
  router_.lose();
  router_.connect();
  const auto again = router_.next_submit();
  ASSERT_TRUE(again);
  EXPECT_NE(again->id, submit_->id);
  EXPECT_EQ(again->prompt_tokens, submit_->prompt_tokens);
  std::vector<TokenId> expected = submit_->tokens;
  expected.insert(expected.end(), before.begin(), before.end());
  EXPECT_EQ(again->tokens, expected);
  EXPECT_EQ(again->sampling, submit_->sampling);
  std::vector<TokenId> rest(all.begin() + 5, all.end());
  rest.push_back(1);
  // Late words about the old id change nothing.
  router_.tell({tokens_of(*submit_, 5, {9, 9}), tokens_of(*again, 5, rest, Finish::stop)});
  EXPECT_THAT(client->read_until("[DONE]\n\n"), EndsWith("[DONE]\n\n"));
  EXPECT_THAT(ask(address(), "GET", "/metrics").body,
              HasSubstr("fathom_gateway_resubmitted_total 1"));
}

TEST_F(FlowTest, the_text_around_a_lost_router_has_no_gap) {
  start();
  const std::string text = "a long answer without any gap 漢字";
  const std::vector<TokenId> all = ids(text);
  for (size_t cut = 0; cut < all.size(); cut += 3) {
    auto client = open();
    const auto middle = all.begin() + static_cast<ptrdiff_t>(cut);
    if (cut > 0) router_.tell({tokens_of(*submit_, 0, {all.begin(), middle})});
    router_.lose();
    router_.connect();
    const auto again = router_.next_submit();
    ASSERT_TRUE(again);
    std::vector<TokenId> rest(middle, all.end());
    rest.push_back(1);
    // This router tells one token again.
    const size_t from = cut > 0 ? cut - 1 : 0;
    if (cut > 0) rest.insert(rest.begin(), all[cut - 1]);
    router_.tell({tokens_of(*again, static_cast<int>(from), rest, Finish::stop)});
    const RawResponse response = client->read_response();
    EXPECT_EQ(joined(events_of(response.body), 0, "/delta/content"), text) << cut;
    EXPECT_THAT(response.body, EndsWith("data: [DONE]\n\n"));
  }
}

TEST_F(FlowTest, a_router_that_comes_back_full_is_asked_again) {
  start();
  auto client = open("");
  router_.lose();
  router_.connect();
  submit_ = router_.next_submit();
  fail_with({Code::resource_exhausted, "full", ""}, Duration::seconds(1));
  const auto again = router_.next_submit();
  ASSERT_TRUE(again);
  router_.tell(
      {tokens_of(*again, 0, ids("ok")), Finished{.id = again->id, .finish = Finish::stop}});
  EXPECT_EQ(at(parsed(client->read_response().body), "/choices/0/message/content"), "ok");
}

TEST_F(FlowTest, a_router_that_stays_away_ends_the_request_with_503) {
  GatewayConfig config;
  config.router_patience_seconds = 0.05;
  start(Kind::v3, config);
  auto client = open("");
  router_.lose();
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 503);
  EXPECT_GE(std::stoi(response.headers.at("retry-after")), 1);
}

TEST_F(FlowTest, a_router_lost_for_good_mid_stream_is_an_error_event_and_never_a_stop) {
  GatewayConfig config;
  config.router_patience_seconds = 0.05;
  start(Kind::v3, config);
  auto client = open();
  router_.tell({tokens_of(*submit_, 0, ids("partial"))});
  router_.lose();
  const std::string body = client->read_response().body;
  EXPECT_THAT(body, EndsWith("data: [DONE]\n\n"));
  const auto events = events_of(body);
  EXPECT_NE(at(events.back(), "/error/message"), "");
  EXPECT_EQ(at(events[events.size() - 2], "/choices/0/finish_reason"), "error");
  EXPECT_THAT(body, Not(HasSubstr(R"("finish_reason":"stop")")));
}

TEST_F(FlowTest, missing_tokens_are_a_failure_not_a_wrong_answer) {
  start();
  auto client = open("");
  router_.tell({tokens_of(*submit_, 0, ids("ab")), tokens_of(*submit_, 7, ids("cd"))});
  EXPECT_EQ(client->read_response().status, 500);
  EXPECT_EQ(router_.next_cancel()->id, submit_->id);
}

TEST_F(FlowTest, errors_of_the_cluster_follow_the_table) {
  start();
  const struct {
    Code code;
    int status;
    const char* type;
    const char* error;
  } cases[] = {{Code::resource_exhausted, 429, "rate_limit_error", "rate_limit_exceeded"},
               {Code::unavailable, 503, "server_error", "overloaded"},
               {Code::deadline_exceeded, 503, "server_error", "timeout"},
               {Code::internal, 500, "server_error", "internal_error"},
               {Code::data_loss, 500, "server_error", "internal_error"},
               {Code::invalid_argument, 400, "invalid_request_error", "null"}};
  for (const auto& c : cases) {
    auto client = open("");
    fail_with({c.code, "worker 10.0.0.7 said no", ""}, Duration::seconds(3));
    const RawResponse response = client->read_response();
    EXPECT_EQ(response.status, c.status);
    const auto body = parsed(response.body);
    EXPECT_EQ(at(body, "/error/type"), c.type);
    EXPECT_EQ(at(body, "/error/code"), c.error);
    if (c.status == 429 || c.status == 503) {
      EXPECT_EQ(response.headers.at("retry-after"), "3");
    }
    if (c.status != 400) {
      EXPECT_THAT(response.body, Not(HasSubstr("10.0.0.7")));
    }
  }
}

TEST_F(FlowTest, a_refused_stream_gets_a_status_not_an_event) {
  start();
  auto client = open();
  fail_with({Code::resource_exhausted, "full", ""}, Duration::seconds(2));
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
}

TEST_F(FlowTest, too_many_in_flight_are_429_with_retry_after) {
  GatewayConfig config;
  config.pending_max = 2;
  start(Kind::v3, config);
  auto first = open();
  auto second = open();
  const RawResponse third = chat();
  EXPECT_EQ(third.status, 429);
  EXPECT_EQ(third.headers.at("retry-after"), "1");
  EXPECT_EQ(chat(R"(,"n":2)").status, 429);
  first->close();
  router_.next_cancel();
  router_.answer_by(says("room again"));
  EXPECT_EQ(chat().status, 200);
}

TEST_F(FlowTest, a_link_without_room_is_429_and_without_router_503) {
  start();
  router_.refuse_sends(Error{Code::resource_exhausted, "queue full", ""});
  EXPECT_EQ(chat().status, 429);
  router_.refuse_sends(std::nullopt);
  router_.lose();
  const RawResponse response = chat();
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.headers.contains("retry-after"));
}

TEST_F(FlowTest, a_slow_stream_shows_signs_of_life_and_then_its_answer) {
  GatewayConfig config;
  config.stream_commit_seconds = 0.02;
  config.keep_alive_seconds = 0.02;
  start(Kind::v3, config);
  auto client = open();
  const std::string early =
      client->read_until(": keep-alive\n\n") + client->read_until(": keep-alive\n\n");
  EXPECT_THAT(early, HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(early, Not(HasSubstr("data:")));
  router_.tell({tokens_of(*submit_, 0, ids("x"), Finish::length)});
  EXPECT_THAT(client->read_until("[DONE]\n\n"), HasSubstr("\"finish_reason\":\"length\""));
}

TEST_F(FlowTest, a_failure_after_an_early_200_is_json_that_says_so) {
  GatewayConfig config;
  config.whole_commit_seconds = 0.02;
  config.keep_alive_seconds = 0.02;
  start(Kind::v3, config);
  auto client = open("");
  client->read_until("\r\n\r\n");
  client->read_until("\n\r\n");  // the first newline, as a chunk
  fail_with({Code::unavailable, "gone", ""});
  const std::string rest = client->read_until("0\r\n\r\n");
  const size_t begin = rest.find('{');
  ASSERT_NE(begin, std::string::npos);
  const auto body = parsed(std::string_view(rest).substr(begin, rest.rfind('}') - begin + 1));
  EXPECT_EQ(at(body, "/choices/0/finish_reason"), "insufficient_system_resource");
  EXPECT_EQ(at(body, "/choices/0/message/content"), "");
  EXPECT_EQ(at(body, "/error/code"), "overloaded");
}

TEST_F(FlowTest, whole_answers_survive_an_early_200) {
  GatewayConfig config;
  config.whole_commit_seconds = 0.02;
  config.keep_alive_seconds = 0.02;
  start(Kind::v3, config);
  auto client = open("");
  EXPECT_THAT(client->read_until("\r\n\r\n"), HasSubstr("200 OK"));
  router_.tell({tokens_of(*submit_, 0, ids("late"), Finish::length)});
  EXPECT_THAT(client->read_until("0\r\n\r\n"), HasSubstr(R"("content":"late")"));
}

TEST_F(FlowTest, requests_that_never_start_end_with_503_and_a_cancel) {
  GatewayConfig config;
  config.start_seconds_max = 0.03;
  start(Kind::v3, config);
  auto client = open();
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(at(parsed(response.body), "/error/code"), "timeout");
  EXPECT_EQ(router_.next_cancel()->id, submit_->id);
}

TEST_F(FlowTest, the_deadline_travels_to_the_router) {
  GatewayConfig config;
  config.request_seconds_max = 77;
  start(Kind::v3, config);
  auto client = open();
  EXPECT_EQ(submit_->time_left, Duration::seconds(77));
  EXPECT_THAT(submit_->trace, testing::StartsWith("req_"));
}

TEST_F(FlowTest, a_client_that_does_not_read_its_stream_is_cancelled) {
  GatewayConfig config;
  config.http.stream_buffer_max = 64 << 10;
  start(Kind::v3, config);
  RawClient client(address(), 4096);
  client.send(raw_request("POST", "/v1/chat/completions",
                          chat_body(R"(,"stream":true,"ignore_eos":true)")));
  submit_ = router_.next_submit();
  for (int i = 0; i < 400; ++i) {
    std::vector<FromRouter> events;
    for (int k = 0; k < 100; ++k) events.push_back(tokens_of(*submit_, i * 100 + k, {40}));
    router_.tell(std::move(events));
  }
  EXPECT_EQ(router_.next_cancel()->id, submit_->id);
}

TEST_F(FlowTest, draining_refuses_what_is_new_and_finishes_what_runs) {
  start();
  auto client = open();
  RawClient other(address());
  other.send(raw_request("GET", "/health/live", ""));
  other.read_response();
  gateway_->drain();
  EXPECT_FALSE(gateway_->wait_idle(Duration::ms(0)));
  EXPECT_EQ(ask(address(), "GET", "/health/ready").status, 503);
  const RawResponse refused = chat();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  router_.tell({tokens_of(*submit_, 0, ids("done"), Finish::stop)});
  EXPECT_THAT(client->read_response().body, EndsWith("data: [DONE]\n\n"));
  EXPECT_TRUE(gateway_->wait_idle(Duration::seconds(10)));
}

TEST_F(FlowTest, stopping_with_requests_in_flight_ends_them) {
  start();
  auto client = open();
  gateway_->stop();
  EXPECT_EQ(router_.next_cancel()->id, submit_->id);
}

}  // namespace
}  // namespace fathom
