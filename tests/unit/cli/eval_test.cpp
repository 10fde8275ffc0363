#include "cli/eval.h"

#include <gtest/gtest.h>
#include <boost/json/parse.hpp>

#include <cstdio>
#include <fstream>
#include <mutex>
#include <sstream>

#include "net/http_server.h"
#include "net/http_threads.h"
#include "net/ports.h"

namespace fathom {
namespace {

namespace json = boost::json;

std::string question(const std::string& asked, const std::string& want) {
  return R"({"task":"add","messages":[{"role":"user","content":")" + asked +
         R"("}],"check":{"kind":"number","want":")" + want + "\"}}\n";
}

// Adds the two numbers it is asked for; single words make it misbehave. Only with the right key.
class Adder final : public HttpHandler {
 public:
  void handle(std::shared_ptr<HttpExchange> exchange) override {
    const ServerRequest& request = exchange->request();
    if (request.header("authorization") != "Bearer secret")
      return fail(*exchange, 401, "no such key");
    if (request.path == "/v1/models")
      return exchange->respond({.body = R"({"data":[{"id":"adder"}]})"});
    const json::value body = json::parse(request.body);
    if (body.at("model").as_string() != "adder") return fail(*exchange, 404, "no such model");
    {
      const std::lock_guard lock(mutex_);
      bodies_.push_back(request.body);
    }
    const std::string asked(body.at("messages").at(0).at("content").as_string());
    if (asked == "refuse") return fail(*exchange, 400, "not supported");
    if (asked == "busy" && refusals_left_ != 0) return refuse_for_now(*exchange);
    if (asked == "never") return waiting_.push_back(std::move(exchange));
    int a = 0, b = 0;
    std::sscanf(asked.c_str(), "%d+%d", &a, &b);
    const std::string said = std::to_string(a + b);
    const std::string usage = R"("usage":{"prompt_tokens":3,"completion_tokens":2})";
    if (body.as_object().contains("stream")) {
      const std::string start = R"(data: {"choices":[{"delta":{"content":")" + said + "\"}}]}\n\n";
      exchange->start_stream({.content_type = "text/event-stream", .body = start});
      if (asked == "cut") return exchange->finish();
      exchange->finish(R"(data: {"choices":[{"delta":{},"finish_reason":"stop"}],)" + usage +
                       "}\n\ndata: [DONE]\n\n");
      return;
    }
    exchange->respond({.body = R"({"choices":[{"message":{"content":")" + said +
                               R"("},"finish_reason":"stop"}],)" + usage + "}"});
  }
  ServerResponse refuse(int status, std::string_view message) override {
    return {.status = status, .body = std::string(message)};
  }
  // `busy` is answered once it was refused so often; -1: never.
  void refuse_busy(int times, std::string retry_after) {
    const std::lock_guard lock(mutex_);
    refusals_left_ = times;
    retry_after_ = std::move(retry_after);
  }
  std::vector<std::string> bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

 private:
  static void fail(HttpExchange& exchange, int status, const std::string& message) {
    exchange.respond({.status = status, .body = R"({"error":{"message":")" + message + "\"}}"});
  }
  void refuse_for_now(HttpExchange& exchange) {
    const std::lock_guard lock(mutex_);
    if (refusals_left_ > 0) --refusals_left_;
    ServerResponse response{.status = 429, .body = R"({"error":{"message":"full"}})"};
    if (!retry_after_.empty()) response.headers.emplace_back("retry-after", retry_after_);
    exchange.respond(std::move(response));
  }
  std::mutex mutex_;
  std::vector<std::string> bodies_;
  int refusals_left_ = 0;
  std::string retry_after_;
  std::vector<std::shared_ptr<HttpExchange>> waiting_;
};

class Eval : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = start_http_server({}, *threads_, adder_).value();
    options_.settings.url = "http://" + server_->address();
    options_.settings.key = "secret";
    options_.json = true;
  }
  void TearDown() override { server_->stop(); }

  std::string file(const std::string& name, const std::string& text) {
    const std::string path = ::testing::TempDir() + "fathom_eval_" +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name() + "_" +
                             name;
    std::ofstream(path) << text;
    return path;
  }
  void questions(const std::string& text) { options_.questions_file = file("q.jsonl", text); }

  // The exit code; result_ holds the JSON, error_ what went to standard error.
  int run(const std::function<bool()>& interrupted = {}) {
    std::ostringstream out, error;
    const int code =
        run_eval(options_, {.out = out, .error = error, .terminal = false}, clock_, interrupted);
    text_ = out.str();
    error_ = error.str();
    if (options_.json) {
      result_ = json::parse(text_);
      EXPECT_EQ(result_.at("exit_code").as_int64(), code);
    }
    return code;
  }

  Adder adder_;
  SystemClock clock_;
  std::unique_ptr<HttpThreads> threads_ = make_http_threads(1);
  std::unique_ptr<HttpServer> server_;
  EvalOptions options_;
  json::value result_;
  std::string text_, error_;
};

TEST_F(Eval, right_and_wrong_answers_are_counted_streamed_or_whole) {
  questions(question("1+2", "3") + question("2+2", "5") + question("20+3", "23"));
  for (const bool stream : {true, false}) {
    options_.settings.stream = stream;
    EXPECT_EQ(run(), 0) << error_;
    EXPECT_EQ(result_.at("total").at("right").as_int64(), 2);
    EXPECT_EQ(result_.at("total").at("answered").as_int64(), 3);
    EXPECT_EQ(result_.at("tokens").at("completion").as_int64(), 6);
    EXPECT_EQ(result_.at("first_token_seconds").is_null(), !stream);
    EXPECT_EQ(result_.at("wrong").at(0).at("content").as_string(), "4");
    EXPECT_EQ(result_.at("model").as_string(), "adder");
  }
  EXPECT_NE(error_.find("3 of 3, 2 right, 0 failed"), std::string::npos) << error_;
  options_.json = false;
  run();
  EXPECT_NE(text_.find("wrong, add\n  asked   2+2\n  said    4\n  wanted  5\n"), std::string::npos)
      << text_;
}

TEST_F(Eval, settings_reach_the_request) {
  questions(question("1+2", "3"));
  options_.settings.url += "/v1/";
  options_.settings.seed = 7;
  options_.settings.temperature = 0.5;
  options_.settings.max_tokens = 12;
  ASSERT_EQ(run(), 0);
  const json::value body = json::parse(adder_.bodies().at(0));
  EXPECT_EQ(body.at("seed").as_int64(), 7);
  EXPECT_EQ(body.at("temperature").as_double(), 0.5);
  EXPECT_EQ(body.at("max_tokens").as_int64(), 12);
  EXPECT_TRUE(body.at("stream").as_bool());
  EXPECT_FALSE(body.as_object().contains("tools"));
}

TEST_F(Eval, refused_and_cut_questions_are_counted_by_their_reason) {
  questions(question("1+2", "3") + question("refuse", "3") + question("refuse", "4") +
            question("cut", "0"));
  EXPECT_EQ(run(), 2);
  EXPECT_EQ(result_.at("total").at("answered").as_int64(), 1);
  EXPECT_EQ(result_.at("errors").at("400 not supported").as_int64(), 2);
  EXPECT_EQ(result_.at("errors").at("the answer ended before its end").as_int64(), 1);
}

TEST_F(Eval, a_full_server_is_asked_again_not_before_it_said) {
  questions(question("1+2", "3") + question("busy", "0"));
  options_.settings.retry_seconds = 0.001;
  adder_.refuse_busy(1, "1");
  const Instant start = clock_.now();
  EXPECT_EQ(run(), 0) << text_;
  EXPECT_GE(clock_.now() - start, Duration::seconds(1));
  EXPECT_EQ(result_.at("retried").as_int64(), 1);
  EXPECT_EQ(result_.at("total").at("right").as_int64(), 2);
  EXPECT_NE(error_.find(", 1 asked again"), std::string::npos) << error_;
  // Without a time that can be read there is a back-off.
  adder_.refuse_busy(5, "Fri, 27 Nov 2026 00:00:00 GMT");
  EXPECT_EQ(run(), 0) << text_;
  EXPECT_EQ(result_.at("retried").as_int64(), 5);
}

TEST_F(Eval, a_server_that_stays_full_is_not_asked_for_ever) {
  questions(question("busy", "0") + question("1+2", "3"));
  options_.settings.retry_seconds = 0.001;
  options_.settings.retries = 3;
  adder_.refuse_busy(-1, "");
  EXPECT_EQ(run(), 2);
  EXPECT_EQ(result_.at("retried").as_int64(), 3);
  EXPECT_EQ(result_.at("errors").at("429 full").as_int64(), 1);
  EXPECT_EQ(result_.at("total").at("right").as_int64(), 1);
  // Nobody waits an hour for one answer who has the patience for a minute.
  adder_.refuse_busy(-1, "3600");
  options_.settings.patience_seconds = 60;
  EXPECT_EQ(run(), 2);
  EXPECT_EQ(result_.at("retried").as_int64(), 0);
}

TEST_F(Eval, one_that_has_no_room_for_anybody_ends_the_asking) {
  std::string many;
  for (int i = 0; i < 50; ++i) many += question("busy", std::to_string(i));
  questions(many);
  options_.settings.retries = 0;
  options_.settings.concurrency = 2;
  adder_.refuse_busy(-1, "");
  EXPECT_EQ(run(), 2);
  EXPECT_NE(error_.find("429 full"), std::string::npos) << error_;
  EXPECT_LE(adder_.bodies().size(), 4u);
}

TEST_F(Eval, a_missed_threshold_is_exit_code_1) {
  questions(question("1+2", "3") + question("2+2", "5"));
  options_.at_least = {"arithmetic=50"};
  EXPECT_EQ(run(), 0);
  options_.at_least = {"51"};
  EXPECT_EQ(run(), 1);
}

TEST_F(Eval, answers_are_compared_with_an_earlier_run) {
  questions(question("1+2", "3") + question("2+2", "5"));
  options_.answers_file = file("a.jsonl", "");
  ASSERT_EQ(run(), 0);
  options_.against_file = options_.answers_file;
  options_.answers_file.clear();
  options_.same_text = true;
  EXPECT_EQ(run(), 0);
  EXPECT_EQ(result_.at("against").at("same_text").as_int64(), 2);
  std::ifstream in(options_.against_file);
  std::string kept{std::istreambuf_iterator<char>(in), {}};
  kept.replace(kept.find(R"("content":"3")"), 13, R"("content":"4")");
  options_.against_file = file("b.jsonl", kept);
  EXPECT_EQ(run(), 1);
  EXPECT_EQ(result_.at("against").at("same_text").as_int64(), 1);
}

TEST_F(Eval, what_refuses_every_question_ends_at_once) {
  std::string many;
  for (int i = 0; i < 50; ++i) many += question(std::to_string(i) + "+0", std::to_string(i));
  questions(many);
  options_.settings.model = "another";
  EXPECT_EQ(run(), 2);
  EXPECT_NE(error_.find("404 no such model"), std::string::npos) << error_;
  options_.settings.model.clear();
  options_.settings.key = "wrong";
  EXPECT_EQ(run(), 2);
  EXPECT_NE(error_.find("401 no such key"), std::string::npos) << error_;
  options_.settings.key.clear();
  options_.key_file = file("key", "secret\n");
  EXPECT_EQ(run(), 0) << error_;
}

TEST_F(Eval, a_server_that_is_away_is_exit_code_2) {
  questions(question("1+2", "3"));
  options_.settings.url = "http://127.0.0.1:" + std::to_string(free_ports(1).value()[0]);
  EXPECT_EQ(run(), 2);
  EXPECT_NE(error_.find("no server answers"), std::string::npos) << error_;
  EXPECT_EQ(result_.at("error").at("code").as_string(), "UNAVAILABLE");
  options_.settings.model = "adder";  // which needs no look at /v1/models
  EXPECT_EQ(run(), 2);
}

TEST_F(Eval, an_interrupt_prints_what_was_asked_so_far) {
  questions(question("1+2", "3") + question("never", "0") + question("5+5", "10"));
  options_.settings.concurrency = 1;
  options_.answers_file = file("a.jsonl", "");
  int looks = 0;
  EXPECT_EQ(run([&] { return ++looks > 5 && adder_.bodies().size() == 2; }), 130);
  EXPECT_TRUE(result_.at("interrupted").as_bool());
  EXPECT_EQ(result_.at("total").at("right").as_int64(), 1);
  EXPECT_EQ(result_.at("chosen").as_int64(), 3);
  std::ifstream in(options_.answers_file);
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(in), {}, '\n'), 1);
}

TEST_F(Eval, bad_files_and_options_are_named_before_anything_is_asked) {
  const auto refused = [&](const std::string& name) {
    EXPECT_EQ(run(), 2);
    EXPECT_NE(error_.find(name), std::string::npos) << error_;
    EXPECT_TRUE(adder_.bodies().empty());
  };
  options_.questions_file = "/nowhere/q.jsonl";
  refused("/nowhere/q.jsonl can not be read");
  questions(question("1+2", "3") + "{}\n");
  refused("line 2 of " + options_.questions_file + ": task must be a word");
  questions(question("1+2", "3"));
  const EvalOptions good = options_;
  const auto with = [&](auto change, const std::string& name) {
    options_ = good;
    change(options_);
    refused(name);
  };
  with([](EvalOptions& o) { o.tasks = {"sums"}; }, "sums");
  with([](EvalOptions& o) { o.at_least = {"sums=3"}; }, "--at-least");
  with([](EvalOptions& o) { o.settings.url = "ftp://x"; }, "ftp://x");
  with([](EvalOptions& o) { o.settings.concurrency = 0; }, "--concurrency");
  with([](EvalOptions& o) { o.settings.retries = -1; }, "--retries");
  with([](EvalOptions& o) { o.settings.temperature = -1; }, "--temperature");
  with([](EvalOptions& o) { o.settings.key = "a\r\nb: c"; }, "--key");
  with([](EvalOptions& o) { o.key_file = "/nowhere/key"; }, "--key-file");
  with([](EvalOptions& o) { o.same_text = true; }, "--same-text");
  with([](EvalOptions& o) { o.answers_file = "/nowhere/a"; }, "--answers");
  with([&](EvalOptions& o) { o.against_file = o.questions_file; }, "line 1 of");
}

}  // namespace
}  // namespace fathom
