// Does a chat over HTTP look like what OpenAI clients expect, streamed and whole?
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAnswer = "Hello \"world\"\n\\ 漢字 🎉 done.";

TEST_F(GatewayTest, a_chat_is_answered_whole) {
  start();
  router_.answer_by(says(kAnswer));
  const RawResponse response = chat();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  EXPECT_TRUE(response.headers.contains("x-request-id"));
  EXPECT_TRUE(response.headers.contains("openai-processing-ms"));
  const auto body = parsed(response.body);
  EXPECT_EQ(at(body, "/object"), "chat.completion");
  EXPECT_EQ(at(body, "/model"), "tiny");
  EXPECT_EQ(at(body, "/choices/0/message/role"), "assistant");
  EXPECT_EQ(at(body, "/choices/0/message/content"), kAnswer);
  EXPECT_EQ(at(body, "/choices/0/finish_reason"), "stop");
  EXPECT_EQ(at(body, "/choices/0/message/tool_calls"), "");
  EXPECT_THAT(at(body, "/system_fingerprint"), testing::StartsWith("fp_"));
}

TEST_F(GatewayTest, usage_adds_up) {
  start();
  const auto script = says(kAnswer);
  router_.answer_by([script](const Submit& submit) {
    auto events = script(submit);
    std::get<Tokens>(events[0]).cached = 130;
    return events;
  });
  const std::string prompt(600, 'z');
  const auto body =
      parsed(post("/v1/chat/completions",
                  R"({"model":"tiny","messages":[{"role":"user","content":")" + prompt + R"("}]})")
                 .body);
  const auto submit = router_.next_submit();
  ASSERT_TRUE(submit);
  EXPECT_EQ(at(body, "/usage/prompt_tokens"), std::to_string(submit->prompt_tokens));
  const int completion = static_cast<int>(ids(kAnswer).size()) + 1;
  EXPECT_EQ(at(body, "/usage/completion_tokens"), std::to_string(completion));
  EXPECT_EQ(at(body, "/usage/total_tokens"), std::to_string(submit->prompt_tokens + completion));
  EXPECT_EQ(at(body, "/usage/prompt_tokens_details/cached_tokens"), "128");  // whole units of 64
  EXPECT_EQ(at(body, "/usage/prompt_cache_hit_tokens"), "128");
  EXPECT_EQ(at(body, "/usage/prompt_cache_miss_tokens"),
            std::to_string(submit->prompt_tokens - 128));
}

TEST_F(GatewayTest, accept_json_with_stream_true_still_streams) {
  start();
  router_.answer_by(says(kAnswer));
  const RawResponse response = ask(address(), "POST", "/v1/chat/completions",
                                   chat_body(R"(,"stream":true)"), "Accept: application/json\r\n");
  EXPECT_EQ(response.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(response.headers.at("cache-control"), "no-cache");
  EXPECT_EQ(response.headers.at("x-accel-buffering"), "no");
  EXPECT_TRUE(response.headers.contains("x-request-id"));
  EXPECT_TRUE(response.complete);
}

TEST_F(GatewayTest, a_stream_has_role_first_one_finish_and_done_last) {
  start();
  router_.answer_by(says(kAnswer));
  const RawResponse response = chat(R"(,"stream":true)");
  EXPECT_THAT(response.body, EndsWith("data: [DONE]\n\n"));
  EXPECT_THAT(response.body, Not(HasSubstr("\nid:")));
  EXPECT_THAT(response.body, Not(HasSubstr("retry:")));
  const auto events = events_of(response.body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(at(events[0], "/choices/0/delta/role"), "assistant");
  EXPECT_EQ(at(events[0], "/choices/0/delta/content"), "");
  int finishes = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(at(events[i], "/object"), "chat.completion.chunk");
    for (const char* same : {"/id", "/created", "/model", "/system_fingerprint"})
      EXPECT_EQ(at(events[i], same), at(events[0], same));
    EXPECT_EQ(at(events[i], "/choices/0/delta/role"), i == 0 ? "assistant" : "");
    EXPECT_EQ(at(events[i], "/usage"), "");
    if (at(events[i], "/choices/0/finish_reason") != "null") {
      ++finishes;
      EXPECT_EQ(i + 1, events.size());
      EXPECT_EQ(at(events[i], "/choices/0/delta"), "{}");
      EXPECT_EQ(at(events[i], "/choices/0/finish_reason"), "stop");
    }
  }
  EXPECT_EQ(finishes, 1);
}

TEST_F(GatewayTest, streamed_text_equals_whole_text) {
  start();
  for (const size_t per_message : {1u, 3u, 100u}) {
    router_.answer_by(says(kAnswer, per_message));
    const auto events = events_of(chat(R"(,"stream":true)").body);
    EXPECT_EQ(joined(events, 0, "/delta/content"), kAnswer);
    EXPECT_EQ(at(parsed(chat().body), "/choices/0/message/content"), kAnswer);
  }
}

TEST_F(GatewayTest, usage_comes_after_the_finish_when_asked) {
  start();
  router_.answer_by(says(kAnswer));
  const auto events =
      events_of(chat(R"(,"stream":true,"stream_options":{"include_usage":true})").body);
  EXPECT_EQ(at(events.back(), "/choices"), "[]");
  EXPECT_NE(at(events.back(), "/usage/total_tokens"), "");
  for (size_t i = 0; i + 1 < events.size(); ++i) EXPECT_EQ(at(events[i], "/usage"), "null");
}

TEST_F(GatewayTest, several_choices_have_their_own_text_and_seed_and_one_prompt) {
  start();
  const auto a = says("first"), b = says("second"), c = says("third");
  int count = 0;
  router_.answer_by([&, a, b, c](const Submit& submit) {
    return std::array{a, b, c}[static_cast<size_t>(count++)](submit);
  });
  const auto body = parsed(chat(R"(,"n":3,"seed":5)").body);
  EXPECT_EQ(at(body, "/choices/0/message/content"), "first");
  EXPECT_EQ(at(body, "/choices/1/message/content"), "second");
  EXPECT_EQ(at(body, "/choices/2/message/content"), "third");
  EXPECT_EQ(at(body, "/choices/2/index"), "2");
  const auto one = router_.next_submit(), two = router_.next_submit(),
             three = router_.next_submit();
  EXPECT_EQ(one->sampling.seed, 5u);
  EXPECT_NE(two->sampling.seed, one->sampling.seed);
  EXPECT_NE(three->sampling.seed, two->sampling.seed);
  EXPECT_EQ(at(body, "/usage/prompt_tokens"), std::to_string(one->prompt_tokens));
}

TEST_F(GatewayTest, without_a_seed_requests_differ) {
  start();
  router_.answer_by(says("x"));
  chat();
  chat();
  EXPECT_NE(router_.next_submit()->sampling.seed, router_.next_submit()->sampling.seed);
}

TEST_F(GatewayTest, sampling_reaches_the_router_as_asked) {
  start();
  router_.answer_by(says("x"));
  chat(
      R"(,"temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"repetition_penalty":1.5,"frequency_penalty":-1,
       "presence_penalty":2,"logit_bias":{"17":-100,"3":1.5},"seed":-3,"min_tokens":2,"max_tokens":9,
       "stop_token_ids":[44],"user":"u-1")");
  const Sampling s = router_.next_submit()->sampling;
  EXPECT_FLOAT_EQ(s.temperature, 0.5f);
  EXPECT_FLOAT_EQ(s.top_p, 0.25f);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_FLOAT_EQ(s.min_p, 0.125f);
  EXPECT_FLOAT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_FLOAT_EQ(s.frequency_penalty, -1);
  EXPECT_FLOAT_EQ(s.presence_penalty, 2);
  EXPECT_EQ(s.logit_bias.size(), 2u);
  EXPECT_EQ(s.seed, static_cast<uint64_t>(int64_t{-3}));
  EXPECT_EQ(s.min_tokens, 2);
  EXPECT_EQ(s.max_tokens, 9);
  EXPECT_EQ(s.stop_tokens, (std::vector<TokenId>{1, 44}));
}

TEST_F(GatewayTest, ignore_eos_leaves_no_stop_token) {
  start();
  router_.answer_by(says("x"));
  chat(R"(,"ignore_eos":true)");
  EXPECT_TRUE(router_.next_submit()->sampling.stop_tokens.empty());
}

TEST_F(GatewayTest, max_completion_tokens_wins_and_length_is_reported) {
  start();
  router_.answer_by(says(kAnswer));
  const auto body = parsed(chat(R"(,"max_tokens":2,"max_completion_tokens":4)").body);
  EXPECT_EQ(at(body, "/choices/0/finish_reason"), "length");
  EXPECT_EQ(at(body, "/usage/completion_tokens"), "4");
}

TEST_F(GatewayTest, a_chat_without_a_length_gets_the_default_within_the_context) {
  GatewayConfig config;
  config.max_tokens_default = 100000;
  start(Kind::v3, config);
  router_.answer_by(says("x"));
  EXPECT_EQ(chat().status, 200);
  const auto submit = router_.next_submit();
  EXPECT_EQ(submit->sampling.max_tokens, 4096 - submit->prompt_tokens);
}

TEST_F(GatewayTest, a_stop_string_across_tokens_is_removed_and_cancels) {
  start();
  router_.answer_by([this](const Submit& submit) {
    auto events = says("keep this STOP not this")(submit);
    events.pop_back();  // the router would go on
    return events;
  });
  const auto events = events_of(chat(R"(,"stream":true,"stop":["STOP"])").body);
  const auto submit = router_.next_submit();
  EXPECT_EQ(router_.next_cancel()->id, submit->id);
  EXPECT_EQ(joined(events, 0, "/delta/content"), "keep this ");
  EXPECT_EQ(at(events.back(), "/choices/0/finish_reason"), "stop");
  EXPECT_EQ(at(parsed(chat(R"(,"stop":"STOP")").body), "/choices/0/message/content"), "keep this ");
  EXPECT_EQ(at(parsed(chat(R"(,"stop":"STOP","include_stop_str_in_output":true)").body),
               "/choices/0/message/content"),
            "keep this STOP");
}

TEST_F(GatewayTest, characters_are_never_split) {
  start();
  router_.answer_by(says("🎉漢字🎊é"));
  const RawResponse response = chat(R"(,"stream":true)");
  EXPECT_THAT(response.body, Not(HasSubstr("\xEF\xBF\xBD")));
  for (const auto& event : events_of(response.body)) EXPECT_TRUE(event.is_object());
  EXPECT_EQ(joined(events_of(response.body), 0, "/delta/content"), "🎉漢字🎊é");
}

TEST_F(GatewayTest, logprobs_cover_the_content_byte_by_byte) {
  start();
  router_.answer_by(says(kAnswer, 2));
  const std::string ask_scores = R"(,"logprobs":true,"top_logprobs":5)";
  const auto whole = parsed(chat(ask_scores).body);
  std::string bytes;
  for (const auto& entry : whole.at("choices").at(0).at("logprobs").at("content").as_array()) {
    for (const auto& byte : entry.at("bytes").as_array())
      bytes += static_cast<char>(byte.as_int64());
    EXPECT_EQ(entry.at("top_logprobs").as_array().size(), 5u);
    EXPECT_EQ(at(entry, "/logprob"), "-5E-1");
  }
  EXPECT_EQ(bytes, kAnswer);
  EXPECT_EQ(at(whole, "/choices/0/logprobs/refusal"), "null");
  std::string streamed;
  for (const auto& event : events_of(chat(ask_scores + R"(,"stream":true)").body)) {
    const auto* scores = event.at("choices").at(0).at("logprobs").if_object();
    if (scores == nullptr) continue;
    for (const auto& entry : scores->at("content").as_array())
      for (const auto& byte : entry.at("bytes").as_array())
        streamed += static_cast<char>(byte.as_int64());
  }
  EXPECT_EQ(streamed, kAnswer);
}

TEST_F(GatewayTest, token_ids_are_returned_when_asked) {
  start();
  router_.answer_by(says("abc"));
  const auto body = parsed(chat(R"(,"return_token_ids":true)").body);
  const auto submit = router_.next_submit();
  EXPECT_EQ(body.at("prompt_token_ids").as_array().size(),
            static_cast<size_t>(submit->prompt_tokens));
  EXPECT_EQ(body.at("choices").at(0).at("token_ids").as_array().size(), ids("abc").size() + 1);
  size_t streamed = 0;
  const auto events = events_of(chat(R"(,"return_token_ids":true,"stream":true)").body);
  ASSERT_FALSE(events.empty());
  for (const auto& event : events)
    if (const auto* some = event.at("choices").at(0).as_object().if_contains("token_ids"))
      streamed += some->as_array().size();
  EXPECT_EQ(streamed, ids("abc").size() + 1);
  EXPECT_EQ(events[0].at("prompt_token_ids").as_array().size(),
            static_cast<size_t>(submit->prompt_tokens));
}

TEST_F(GatewayTest, reasoning_is_parted_from_the_answer) {
  start(Kind::r1);
  router_.answer_by([this](const Submit& submit) {
    std::vector<TokenId> out = ids("I think STOP hard.\n");
    out.push_back(*tokenizer_->find_added("</think>"));
    for (const TokenId id : ids("\n\nThe answer.")) out.push_back(id);
    out.push_back(1);
    std::vector<FromRouter> events;
    for (size_t i = 0; i < out.size(); ++i)
      events.push_back(tokens_of(submit, static_cast<int>(i), {out[i]},
                                 i + 1 == out.size() ? Finish::stop : Finish::none));
    return events;
  });
  // A stop string does not match inside reasoning.
  const auto body = parsed(chat(R"(,"stop":["STOP"],"logprobs":true)").body);
  EXPECT_EQ(at(body, "/choices/0/message/content"), "The answer.");
  EXPECT_THAT(at(body, "/choices/0/message/reasoning_content"), HasSubstr("I think STOP hard."));
  EXPECT_NE(at(body, "/usage/completion_tokens_details/reasoning_tokens"), "0");
  std::string scored;
  for (const auto& entry : body.at("choices").at(0).at("logprobs").at("content").as_array())
    scored += at(entry, "/token");
  EXPECT_EQ(scored, "The answer.");
  const auto events = events_of(chat(R"(,"stream":true)").body);
  EXPECT_EQ(joined(events, 0, "/delta/content"), "The answer.");
  EXPECT_EQ(joined(events, 0, "/delta/reasoning_content"),
            at(body, "/choices/0/message/reasoning_content"));
  bool answering = false;
  for (const auto& event : events) {
    answering = answering || at(event, "/choices/0/delta/content") != "";
    const bool reasons = at(event, "/choices/0/delta/reasoning_content") != "";
    EXPECT_FALSE(answering && reasons);
  }
  EXPECT_EQ(at(parsed(chat(R"(,"include_reasoning":false)").body),
               "/choices/0/message/reasoning_content"),
            "");
  EXPECT_EQ(chat(R"(,"reasoning_effort":"none")").status, 400);
}

}  // namespace
}  // namespace fathom
