// Is every request we can not serve refused before any 200 byte, naming the field, in the envelope
// clients know?
#include <unistd.h>

#include <fstream>

#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::HasSubstr;

void expect_refusal(const RawResponse& response, int status, const std::string& param,
                    const std::string& what) {
  EXPECT_EQ(response.status, status) << what << "\n" << response.body;
  EXPECT_EQ(response.headers.count("x-request-id"), 1u) << what;
  const auto body = parsed(response.body);
  ASSERT_TRUE(body.is_object()) << what;
  const auto& error = body.at("error").as_object();
  EXPECT_FALSE(error.at("message").as_string().empty()) << what;
  EXPECT_TRUE(error.at("type").is_string()) << what;
  EXPECT_TRUE(error.at("code").is_string() || error.at("code").is_null()) << what;
  EXPECT_EQ(param.empty() ? "null" : param, at(body, "/error/param")) << what;
}

struct BadField {
  const char* extra;
  const char* param;
};

TEST_F(GatewayTest, wrong_chat_fields_are_refused_by_name) {
  start();
  const BadField cases[] = {
      {R"("temperature":"hot")", "temperature"},
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":-0.1)", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.5)", "top_p"},
      {R"("top_k":1.5)", "top_k"},
      {R"("min_p":2)", "min_p"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("frequency_penalty":3)", "frequency_penalty"},
      {R"("presence_penalty":-3)", "presence_penalty"},
      {R"("n":0)", "n"},
      {R"("n":9)", "n"},
      {R"("n":"1")", "n"},
      {R"("n":99999999999999999999)", "n"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1.5)", "max_tokens"},
      {R"("max_completion_tokens":10000000)", "max_completion_tokens"},
      {R"("min_tokens":5,"max_tokens":4)", "min_tokens"},
      {R"("seed":1.5)", "seed"},
      {R"("seed":true)", "seed"},
      {R"("stop":5)", "stop"},
      {R"("stop":[1])", "stop"},
      {R"("stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])",
       "stop"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"512":1})", "logit_bias"},
      {R"("logit_bias":{"1":101})", "logit_bias"},
      {R"("logit_bias":{"1":"a"})", "logit_bias"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("stop_token_ids":[512])", "stop_token_ids[0]"},
      {R"("stop_token_ids":["1"])", "stop_token_ids[0]"},
      {R"("logprobs":1)", "logprobs"},
      {R"("top_logprobs":5)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":{"type":"function"})", "tool_choice"},
      {R"("functions":[{"name":"f"}])", "tools"},
      {R"("response_format":{"type":"json_object"})", "response_format.type"},
      {R"("response_format":{"type":"json_schema"})", "response_format.type"},
      {R"("response_format":"text")", "response_format"},
      {R"("modalities":["text","audio"])", "modalities"},
      {R"("audio":{"voice":"x"})", "audio"},
      {R"("web_search_options":{})", "web_search_options"},
      {R"("chat_template":"x")", "chat_template"},
      {R"("logits_processors":["x"])", "logits_processors"},
      {R"("kv_transfer_params":{})", "kv_transfer_params"},
      {R"("prompt_logprobs":1)", "prompt_logprobs"},
      {R"("cache_salt":"x")", "cache_salt"},
      {R"("priority":3)", "priority"},
      {R"("user":5)", "user"},
      {R"("user_id":"no spaces")", "user_id"},
      {R"("service_tier":"gold")", "service_tier"},
      {R"("metadata":{"a":1})", "metadata"},
      {R"("reasoning_effort":"some")", "reasoning_effort"},
      {R"("thinking":{"type":"perhaps"})", "thinking.type"},
      {R"("add_generation_prompt":true,"continue_final_message":true)", "continue_final_message"},
      {R"("ignore_eos":1)", "ignore_eos"},
  };
  for (const BadField& bad : cases)
    expect_refusal(chat("," + std::string(bad.extra)), 400, bad.param, bad.extra);
  EXPECT_EQ(router_.submits(), 0);
}

TEST_F(GatewayTest, user_id_of_513_letters_is_refused) {
  start();
  expect_refusal(chat(R"(,"user_id":")" + std::string(513, 'a') + "\""), 400, "user_id",
                 "513 letters");
}

TEST_F(GatewayTest, wrong_messages_are_refused_by_place) {
  start();
  const BadField cases[] = {
      {R"([])", "messages"},
      {R"({})", "messages"},
      {R"("hi")", "messages"},
      {R"([1])", "messages[0]"},
      {R"([{"content":"x"}])", "messages[0].role"},
      {R"([{"role":"wizard","content":"x"}])", "messages[0].role"},
      {R"([{"role":7,"content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":5}])", "messages[0].content"},
      {R"([{"role":"user","content":["x"]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}])",
       "messages[1].content[1].type"},
      {R"([{"role":"user","content":[{"type":"input_audio"}]}])", "messages[0].content[0].type"},
      {R"([{"role":"user","content":"x","prefix":true}])", "messages[0].prefix"},
      {R"([{"role":"assistant","content":"x","tool_calls":[{"id":"1"}]}])",
       "messages[0].tool_calls[0].function"},
  };
  for (const BadField& bad : cases)
    expect_refusal(post("/v1/chat/completions",
                        R"({"model":"tiny","messages":)" + std::string(bad.extra) + "}"),
                   400, bad.param, bad.extra);
}

TEST_F(GatewayTest, wrong_completion_fields_are_refused_by_name) {
  start();
  const BadField cases[] = {
      {R"("max_tokens":1)", "prompt"},
      {R"("prompt":5)", "prompt"},
      {R"("prompt":[])", "prompt"},
      {R"("prompt":[512])", "prompt[0]"},
      {R"("prompt":[1,-1])", "prompt[1]"},
      {R"("prompt":[1,"a"])", "prompt[1]"},
      {R"("prompt":["a",5])", "prompt[1]"},
      {R"("prompt":[[1,2],[3,512]])", "prompt[1][1]"},
      {R"("prompt":[[1],[]])", "prompt[1]"},
      {R"("prompt":"a","best_of":2)", "best_of"},
      {R"("prompt":"a","suffix":"b")", "suffix"},
      {R"("prompt":"a","logprobs":21)", "logprobs"},
      {R"("prompt":"a","logprobs":true)", "logprobs"},
      {R"("prompt":"a","echo":"yes")", "echo"},
      {R"("prompt":"a","max_tokens":-1)", "max_tokens"},
      {R"("prompt":"a","response_format":{"type":"json_object"})", "response_format"},
  };
  for (const BadField& bad : cases)
    expect_refusal(post("/v1/completions", R"({"model":"tiny",)" + std::string(bad.extra) + "}"),
                   400, bad.param, bad.extra);
  EXPECT_EQ(router_.submits(), 0);
}

TEST_F(GatewayTest, bodies_that_are_not_json_objects_are_refused) {
  start();
  for (const char* body :
       {"{", "[]", "null", "\"x\"", "{\"model\":\"tiny\",}", "{} trailing", "nonsense"})
    for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"})
      expect_refusal(post(path, body), 400, "", std::string(path) + " " + body);
  expect_refusal(post("/v1/chat/completions", ""), 400, "", "empty");
}

TEST_F(GatewayTest, bad_utf8_is_refused) {
  start();
  for (const char* bad : {"\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf"}) {
    const RawResponse response =
        post("/v1/chat/completions", R"({"model":"tiny","messages":[{"role":"user","content":")" +
                                         std::string(bad) + R"("}]})");
    EXPECT_EQ(response.status, 400);
    EXPECT_THAT(response.body, HasSubstr("UTF-8"));
  }
}

TEST_F(GatewayTest, deep_nesting_is_refused) {
  start();
  const std::string deep = R"({"model":"tiny","messages":[],"x":)" + std::string(100000, '[') +
                           std::string(100000, ']') + "}";
  EXPECT_EQ(post("/v1/chat/completions", deep).status, 400);
}

TEST_F(GatewayTest, unknown_models_are_404) {
  start();
  const RawResponse response = post(
      "/v1/chat/completions", R"({"model":"gpt-4","messages":[{"role":"user","content":"x"}]})");
  expect_refusal(response, 404, "model", "unknown");
  EXPECT_EQ(at(parsed(response.body), "/error/code"), "model_not_found");
  expect_refusal(post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}]})"),
                 400, "model", "missing");
}

TEST_F(GatewayTest, too_long_a_prompt_says_both_numbers) {
  start();
  std::string prompt = "[0";
  for (int i = 0; i < 5000; ++i) prompt += ",7";
  for (const char* stream : {"true", "false"}) {
    const RawResponse response =
        post("/v1/completions", R"({"model":"tiny","stream":)" + std::string(stream) +
                                    R"(,"prompt":)" + prompt + "]}");
    expect_refusal(response, 400, "prompt", "long");
    const auto body = parsed(response.body);
    EXPECT_EQ(at(body, "/error/code"), "context_length_exceeded");
    EXPECT_THAT(at(body, "/error/message"), HasSubstr("maximum context length is 4096 tokens"));
    EXPECT_THAT(at(body, "/error/message"), HasSubstr("5017"));
  }
  expect_refusal(chat(R"(,"max_tokens":4096)"), 400, "messages", "long answer");
  EXPECT_EQ(router_.submits(), 0);
}

TEST_F(GatewayTest, a_body_over_the_limit_is_413) {
  GatewayConfig config;
  config.http.body_bytes_max = 100000;
  start(Kind::v3, config);
  const RawResponse response =
      post("/v1/chat/completions", chat_body(",\"x\":\"" + std::string(200000, 'x') + "\""));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(at(parsed(response.body), "/error/code"), "request_too_large");
}

TEST_F(GatewayTest, a_slow_body_is_told_in_the_envelope) {
  GatewayConfig config;
  config.http.body_seconds_max = 0.05;
  start(Kind::v3, config);
  RawClient client(address());
  client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{");
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.status, 408);
  EXPECT_EQ(at(parsed(response.body), "/error/code"), "request_timeout");
}

TEST_F(GatewayTest, routes_of_others_are_refused_in_words) {
  start();
  for (const char* path : {"/v1/embeddings", "/v1/responses", "/v1/messages",
                           "/anthropic/v1/messages", "/v1/images/generations",
                           "/openai/deployments/x/chat/completions", "/nothing", "/user/balance"})
    expect_refusal(post(path, "{}"), 404, "", path);
  EXPECT_EQ(at(parsed(post("/v1/embeddings", "{}").body), "/error/code"), "unsupported_endpoint");
  expect_refusal(post("/chat/completions?api-version=2024-05-01-preview", chat_body()), 404, "",
                 "azure");
  const RawResponse wrong = ask(address(), "GET", "/v1/chat/completions");
  expect_refusal(wrong, 405, "", "GET");
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  expect_refusal(ask(address(), "DELETE", "/v1/models"), 405, "", "DELETE");
}

TEST_F(GatewayTest, a_model_without_a_tokenizer_takes_token_ids_only) {
  start(Kind::no_tokenizer);
  router_.answer_by([](const Submit& submit) {
    return std::vector<FromRouter>{tokens_of(submit, 0, {5, 6}),
                                   tokens_of(submit, 2, {1}, Finish::stop)};
  });
  const auto body = parsed(
      post("/v1/completions", R"({"model":"tiny","prompt":[1,2,3],"return_token_ids":true})").body);
  EXPECT_EQ(at(body, "/choices/0/token_ids"), "[5,6,1]");
  EXPECT_EQ(at(body, "/choices/0/prompt_token_ids"), "[1,2,3]");
  EXPECT_EQ(at(body, "/choices/0/text"), "");
  expect_refusal(chat(), 400, "messages", "chat");
  expect_refusal(post("/v1/completions", R"({"model":"tiny","prompt":"text"})"), 400, "prompt",
                 "text");
  expect_refusal(post("/tokenize", R"({"prompt":"text"})"), 400, "prompt", "tokenize");
  expect_refusal(post("/detokenize", R"({"tokens":[1]})"), 400, "tokens", "detokenize");
  expect_refusal(post("/v1/completions", R"({"model":"tiny","prompt":[1],"stop":"x"})"), 400,
                 "stop", "stop");
}

TEST_F(GatewayTest, a_model_whose_chat_template_is_unknown_still_completes_text) {
  start(Kind::strange_template);
  router_.answer_by(says("yes"));
  const auto body = parsed(post("/v1/completions", R"({"model":"tiny","prompt":"no or"})").body);
  EXPECT_EQ(at(body, "/choices/0/text"), "yes");
  expect_refusal(chat(), 400, "messages", "the statement 'include' is not supported");
}

TEST(GatewayStart, mistakes_are_named) {
  SystemClock clock;
  FakeRouter router;
  const auto start = [&](GatewayConfig config) {
    Metrics metrics;
    config.listen = config.listen == "127.0.0.1:8000" ? "127.0.0.1:0" : config.listen;
    auto gateway = start_gateway(config, {.clock = clock,
                                          .metrics = metrics,
                                          .connect = router.factory(),
                                          .watch = router.watch_factory()});
    return gateway.ok() ? Error{Code::ok, "", ""} : gateway.error();
  };
  EXPECT_EQ(start({.checkpoint = "/nowhere"}).field, "/nowhere");
  EXPECT_EQ(start({.threads = 0}).field, "threads");
  EXPECT_EQ(start({.pending_max = 0}).field, "pending_max");
  Metrics metrics;
  auto first = start_gateway({.listen = "127.0.0.1:0"}, {.clock = clock,
                                                         .metrics = metrics,
                                                         .connect = router.factory(),
                                                         .watch = router.watch_factory()});
  ASSERT_TRUE(first.ok());
  const Error taken = start({.listen = (*first)->address()});
  EXPECT_EQ(taken.code, Code::unavailable);
  EXPECT_THAT(taken.message, HasSubstr((*first)->address()));
}

TEST(GatewayStart, a_tokenizer_larger_than_the_model_is_refused_at_start) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("fathom_mismatch_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const std::filesystem::path data = FATHOM_SOURCE_DIR "/tests/golden/data/tokenizer/mini-deepseek";
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    std::filesystem::copy_file(data / name, directory / name,
                               std::filesystem::copy_options::overwrite_existing);
  std::ofstream(directory / "config.json") << R"({"vocab_size":100})";
  SystemClock clock;
  Metrics metrics;
  FakeRouter router;
  const auto gateway = start_gateway({.listen = "127.0.0.1:0", .checkpoint = directory.string()},
                                     {.clock = clock,
                                      .metrics = metrics,
                                      .connect = router.factory(),
                                      .watch = router.watch_factory()});
  std::filesystem::remove_all(directory);
  ASSERT_FALSE(gateway.ok());
  EXPECT_THAT(gateway.error().field, HasSubstr("tokenizer.json"));
  EXPECT_THAT(gateway.error().message, HasSubstr("100"));
}

}  // namespace
}  // namespace fathom
