// Do raw completions, tokenising and the small routes keep their promises?
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::HasSubstr;

TEST_F(GatewayTest, a_completion_is_answered_whole_and_streamed_alike) {
  start();
  router_.answer_by(says("some text"));
  const std::string body = R"({"model":"tiny","prompt":"Say")";
  const auto whole = parsed(post("/v1/completions", body + "}").body);
  EXPECT_EQ(at(whole, "/object"), "text_completion");
  EXPECT_EQ(at(whole, "/choices/0/text"), "some text");
  EXPECT_EQ(at(whole, "/choices/0/finish_reason"), "stop");
  const auto events = events_of(post("/v1/completions", body + R"(,"stream":true})").body);
  EXPECT_EQ(joined(events, 0, "/text"), "some text");
  EXPECT_EQ(at(events.back(), "/choices/0/finish_reason"), "stop");
  const auto submit = router_.next_submit();
  EXPECT_EQ(submit->tokens.front(), 0);  // BOS before text
  EXPECT_EQ(submit->sampling.max_tokens, 16);
}

TEST_F(GatewayTest, token_prompts_are_taken_as_they_are_and_null_means_bos) {
  start();
  router_.answer_by(says("x"));
  post("/v1/completions", R"({"model":"tiny","prompt":[5,6,7]})");
  EXPECT_EQ(router_.next_submit()->tokens, (std::vector<TokenId>{5, 6, 7}));
  post("/v1/completions", R"({"model":"tiny","prompt":null})");
  EXPECT_EQ(router_.next_submit()->tokens, (std::vector<TokenId>{0}));
}

TEST_F(GatewayTest, batched_prompts_are_numbered_prompt_by_prompt) {
  start();
  router_.answer_by([](const Submit& submit) {
    // Answers with its own first token, so the test sees who got what.
    return std::vector<FromRouter>{tokens_of(submit, 0, {submit.tokens.front()}, Finish::length)};
  });
  const auto body = parsed(
      post("/v1/completions",
           R"({"model":"tiny","prompt":[[5],[6]],"n":2,"return_token_ids":true,"max_tokens":1})")
          .body);
  ASSERT_EQ(body.at("choices").as_array().size(), 4u);
  for (int i = 0; i < 4; ++i) {
    const std::string choice = "/choices/" + std::to_string(i);
    EXPECT_EQ(at(body, choice + "/index"), std::to_string(i));
    EXPECT_EQ(at(body, choice + "/token_ids"), i < 2 ? "[5]" : "[6]");
  }
  EXPECT_EQ(at(body, "/usage/prompt_tokens"), "2");
  EXPECT_EQ(post("/v1/completions", R"({"model":"tiny","prompt":["a","b"],"best_of":1})").status,
            200);
}

TEST_F(GatewayTest, echo_with_logprobs_scores_the_prompt) {
  start();
  router_.answer_by([](const Submit& submit) {
    Tokens scored{.id = submit.id, .finish = Finish::length};
    for (int i = 1; i < submit.prompt_tokens; ++i)
      scored.prompt_logprobs.push_back({.logprob = -1.0f * static_cast<float>(i),
                                        .top = {{submit.tokens[static_cast<size_t>(i)], -0.25f}}});
    return std::vector<FromRouter>{scored};
  });
  const std::string body =
      R"({"model":"tiny","prompt":"abcd","echo":true,"max_tokens":0,"logprobs":1)";
  const auto whole = parsed(post("/v1/completions", body + "}").body);
  const auto submit = router_.next_submit();
  EXPECT_EQ(submit->sampling.max_tokens, 0);
  EXPECT_EQ(submit->sampling.prompt_logprobs, 1);
  EXPECT_EQ(at(whole, "/choices/0/text"), "abcd");
  EXPECT_EQ(at(whole, "/choices/0/finish_reason"), "length");
  const auto& scores = whole.at("choices").at(0).at("logprobs");
  ASSERT_EQ(scores.at("tokens").as_array().size(), static_cast<size_t>(submit->prompt_tokens));
  EXPECT_TRUE(scores.at("token_logprobs").at(0).is_null());
  EXPECT_EQ(scores.at("token_logprobs").at(1).to_number<double>(), -1.0);
  EXPECT_EQ(scores.at("top_logprobs").at(1).as_object().size(), 1u);
  EXPECT_EQ(at(scores, "/text_offset/0"), "0");
  EXPECT_EQ(at(scores, "/text_offset/1"), "0");  // BOS is not in the text
  const auto events = events_of(post("/v1/completions", body + R"(,"stream":true})").body);
  EXPECT_EQ(joined(events, 0, "/text"), "abcd");
  EXPECT_EQ(events.at(0).at("choices").at(0).at("logprobs"), scores);
}

TEST_F(GatewayTest, completion_logprobs_have_four_lists_of_one_length) {
  start();
  router_.answer_by(says("ab 漢 c"));
  const auto body =
      parsed(post("/v1/completions", R"({"model":"tiny","prompt":"x","logprobs":3})").body);
  const auto& scores = body.at("choices").at(0).at("logprobs");
  const size_t count = scores.at("tokens").as_array().size();
  EXPECT_EQ(count, ids("ab 漢 c").size());
  for (const char* list : {"token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(scores.at(list).as_array().size(), count);
}

TEST_F(GatewayTest, tokenize_agrees_with_usage_and_detokenize_reverses_it) {
  start();
  router_.answer_by(says("x"));
  const std::string messages =
      R"("messages":[{"role":"system","content":"be"},{"role":"user","content":"hi 漢"}])";
  const auto counted = parsed(post("/tokenize", "{" + messages + "}").body);
  const auto answered =
      parsed(post("/v1/chat/completions", R"({"model":"tiny",)" + messages + "}").body);
  EXPECT_EQ(at(counted, "/count"), at(answered, "/usage/prompt_tokens"));
  EXPECT_EQ(at(counted, "/max_model_len"), "4096");
  const auto tokens = parsed(
      post("/tokenize",
           R"({"prompt":"back and forth 🎉","add_special_tokens":false,"return_token_strs":true})")
          .body);
  EXPECT_EQ(tokens.at("token_strs").as_array().size(), tokens.at("tokens").as_array().size());
  EXPECT_EQ(at(parsed(post("/detokenize", R"({"tokens":)" + at(tokens, "/tokens") + "}").body),
               "/prompt"),
            "back and forth 🎉");
  EXPECT_EQ(post("/detokenize", R"({"tokens":[512]})").status, 400);
  EXPECT_EQ(post("/tokenize", R"({"model":"other","prompt":"x"})").status, 404);
}

TEST_F(GatewayTest, models_are_listed_with_aliases) {
  GatewayConfig config;
  config.model = "org/big";
  config.model_aliases = {"deepseek-chat"};
  start(Kind::v3, config);
  const auto list = parsed(ask(address(), "GET", "/v1/models").body);
  EXPECT_EQ(at(list, "/object"), "list");
  EXPECT_EQ(at(list, "/data/0/id"), "org/big");
  EXPECT_EQ(at(list, "/data/0/object"), "model");
  EXPECT_NE(at(list, "/data/0/created"), "");
  EXPECT_NE(at(list, "/data/0/owned_by"), "");
  EXPECT_EQ(at(list, "/data/0/max_model_len"), "4096");
  EXPECT_EQ(at(list, "/data/1/id"), "deepseek-chat");
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/v1/models/org/big").body), "/id"), "org/big");
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/v1/models/org%2Fbig").body), "/id"), "org/big");
  EXPECT_EQ(ask(address(), "GET", "/v1/models/none").status, 404);
  router_.answer_by(says("x"));
  const auto body =
      parsed(post("/v1/chat/completions",
                  R"({"model":"deepseek-chat","messages":[{"role":"user","content":"x"}]})")
                 .body);
  EXPECT_EQ(at(body, "/model"), "deepseek-chat");
}

TEST_F(GatewayTest, probes_tell_alive_from_ready) {
  start_unconnected(Kind::v3, {});
  EXPECT_EQ(ask(address(), "GET", "/health/live").status, 200);
  EXPECT_EQ(ask(address(), "GET", "/health").status, 200);
  EXPECT_EQ(ask(address(), "GET", "/ping").status, 200);
  EXPECT_EQ(ask(address(), "GET", "/health/ready").status, 503);
  ClusterState state = FakeRouter::ready_state();
  state.ready = false;
  router_.connect(state);
  const RawResponse waiting = ask(address(), "GET", "/health/ready");
  EXPECT_EQ(waiting.status, 503);
  EXPECT_THAT(waiting.body, HasSubstr("waits for workers"));
  router_.tell({FakeRouter::ready_state()});
  EXPECT_EQ(ask(address(), "GET", "/health/ready").status, 200);
  state = FakeRouter::ready_state();
  state.vocab = 10;
  router_.tell({state});
  EXPECT_THAT(ask(address(), "GET", "/health/ready").body, HasSubstr("tokenizer"));
  EXPECT_NE(at(parsed(ask(address(), "GET", "/version").body), "/version"), "");
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/load").body), "/server_load"), "0");
}

TEST_F(GatewayTest, metrics_count_what_happened) {
  GatewayConfig config;
  config.model = "tiny";
  start(Kind::v3, config);
  router_.answer_by(says("one two"));
  chat();
  chat(R"(,"n":0)");
  ClusterState state = FakeRouter::ready_state();
  state.waiting = 3;
  state.running = 2;
  state.kv_usage = 0.5;
  router_.tell({state});
  const std::string text = ask(address(), "GET", "/metrics").body;
  const std::string completion = std::to_string(ids("one two").size() + 1);
  for (const std::string& line :
       {std::string(R"(fathom_gateway_requests_total{route="chat",status="200"} 1)"),
        std::string(R"(fathom_gateway_requests_total{route="chat",status="400"} 1)"),
        std::string(R"(fathom_gateway_choices_ended_total{outcome="stop"} 1)"),
        "fathom_gateway_generated_tokens_total " + completion,
        std::string("fathom_gateway_pending 0"),
        std::string(R"(vllm:num_requests_waiting{model_name="tiny"} 3)"),
        std::string(R"(vllm:num_requests_running{model_name="tiny"} 2)"),
        std::string(R"(vllm:kv_cache_usage_perc{model_name="tiny"} 0.5)"),
        R"(vllm:generation_tokens_total{model_name="tiny"} )" + completion,
        std::string(R"(vllm:time_to_first_token_seconds_count{model_name="tiny"} 1)"),
        std::string(R"(vllm:e2e_request_latency_seconds_count{model_name="tiny"} 1)")})
    EXPECT_THAT(text, HasSubstr(line));
}

}  // namespace
}  // namespace fathom
