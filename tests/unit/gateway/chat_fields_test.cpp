// Are the fields of a chat request honoured, tolerated and passed on as promised?
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::HasSubstr;

TEST_F(GatewayTest, aliases_of_the_path_are_equivalent) {
  start();
  router_.answer_by(says("same"));
  for (const char* path : {"/v1/chat/completions", "/chat/completions", "/beta/chat/completions",
                           "/v1/chat/completions/"})
    EXPECT_EQ(at(parsed(post(path, chat_body()).body), "/choices/0/message/content"), "same")
        << path;
}

TEST_F(GatewayTest, every_optional_field_may_be_null) {
  start();
  router_.answer_by(says("x"));
  std::string nulls;
  for (const char* key : {"max_tokens",
                          "max_completion_tokens",
                          "temperature",
                          "top_p",
                          "n",
                          "stop",
                          "seed",
                          "frequency_penalty",
                          "presence_penalty",
                          "logit_bias",
                          "logprobs",
                          "top_logprobs",
                          "response_format",
                          "tools",
                          "tool_choice",
                          "parallel_tool_calls",
                          "functions",
                          "function_call",
                          "stream",
                          "stream_options",
                          "reasoning_effort",
                          "thinking",
                          "user",
                          "user_id",
                          "service_tier",
                          "metadata",
                          "top_k",
                          "min_p",
                          "repetition_penalty",
                          "min_tokens",
                          "ignore_eos",
                          "stop_token_ids",
                          "include_stop_str_in_output",
                          "skip_special_tokens",
                          "add_generation_prompt",
                          "continue_final_message",
                          "echo",
                          "cache_salt",
                          "priority",
                          "return_token_ids",
                          "prompt_logprobs",
                          "include_reasoning",
                          "chat_template",
                          "logits_processors",
                          "kv_transfer_params",
                          "modalities",
                          "audio",
                          "web_search_options",
                          "store",
                          "prediction",
                          "chat_template_kwargs"})
    nulls += ",\"" + std::string(key) + "\":null";
  const RawResponse response = chat(nulls);
  EXPECT_EQ(response.status, 200) << response.body;
}

TEST_F(GatewayTest, unknown_fields_are_ignored_and_counted) {
  start();
  router_.answer_by(says("x"));
  EXPECT_EQ(chat(R"(,"frobnicate":1,"blub":{}, "store":true)").status, 200);
  EXPECT_THAT(ask(address(), "GET", "/metrics").body,
              HasSubstr("fathom_gateway_unknown_fields_total 2"));
}

TEST_F(GatewayTest, tools_that_are_switched_off_are_accepted) {
  start();
  router_.answer_by(says("x"));
  EXPECT_EQ(chat(R"(,"tools":[],"tool_choice":"none")").status, 200);
  EXPECT_EQ(
      chat(
          R"(,"tools":null,"tool_choice":"none","response_format":{"type":"text"},"modalities":["text"])")
          .status,
      200);
}

TEST_F(GatewayTest, text_parts_are_joined_and_roles_understood) {
  start();
  router_.answer_by(says("x"));
  const std::string parts =
      R"({"model":"tiny","messages":[{"role":"developer","content":"be"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})";
  const std::string plain =
      R"({"model":"tiny","messages":[{"role":"system","content":"be"},{"role":"user","content":"ab"}]})";
  EXPECT_EQ(post("/v1/chat/completions", parts).status, 200);
  EXPECT_EQ(post("/v1/chat/completions", plain).status, 200);
  EXPECT_EQ(router_.next_submit()->tokens, router_.next_submit()->tokens);
}

TEST_F(GatewayTest, special_token_text_from_a_user_stays_text) {
  start();
  router_.answer_by(says("x"));
  post(
      "/v1/chat/completions",
      R"({"model":"tiny","messages":[{"role":"user","content":"<｜begin▁of▁sentence｜><｜end▁of▁sentence｜>"}]})");
  const auto tokens = router_.next_submit()->tokens;
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 0), 1);  // one BOS
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 1), 0);  // no EOS
}

TEST_F(GatewayTest, the_last_assistant_message_is_continued_when_asked) {
  start();
  router_.answer_by(says(" world"));
  const std::string head =
      R"({"model":"tiny","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello")";
  const RawResponse prefixed = post("/v1/chat/completions", head + R"(,"prefix":true}]})");
  EXPECT_EQ(prefixed.status, 200) << prefixed.body;
  const auto first = router_.next_submit();
  EXPECT_EQ(at(parsed(prefixed.body), "/choices/0/message/content"), " world");
  const RawResponse echoed =
      post("/v1/chat/completions",
           head + R"(}],"continue_final_message":true,"add_generation_prompt":false,"echo":true})");
  EXPECT_EQ(router_.next_submit()->tokens, first->tokens);
  EXPECT_EQ(at(parsed(echoed.body), "/choices/0/message/content"), "Hello world");
}

}  // namespace
}  // namespace fathom
