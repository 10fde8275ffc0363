// Does any checkpoint with a chat template serve chats? Through HTTP, with a template that no code
// knows: what it renders is what the router gets, and what it says is what the client reads.
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>

#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class TemplateTest : public GatewayTest {
 protected:
  // The text of the prompt that the router got for this body.
  std::string prompt_of(std::string_view extra) {
    router_.answer_by(says("x"));
    const RawResponse response = chat(extra);
    EXPECT_EQ(response.status, 200) << response.body;
    submit_ = router_.next_submit();
    return submit_ ? tokenizer_->decode(submit_->tokens, false) : "";
  }
  std::optional<Submit> submit_;
};

TEST_F(TemplateTest, the_checkpoints_own_template_renders_the_prompt) {
  start(Kind::own_template);
  const std::string year = std::to_string(1970 + clock_.unix_seconds() / 31556952);
  EXPECT_EQ(prompt_of(""),
            "<｜begin▁of▁sentence｜>" + year + " <｜User｜>hi<｜Assistant｜></think>");
  // One BOS, and the tokenizer's end token ends the answer beside the model's own.
  EXPECT_EQ(std::count(submit_->tokens.begin(), submit_->tokens.end(), 0), 1);
  EXPECT_THAT(submit_->sampling.stop_tokens,
              ElementsAre(1, tokenizer_->find_added("<｜User｜>").value()));
}

TEST_F(TemplateTest, variables_of_the_request_reach_the_template_and_forge_nothing) {
  start(Kind::own_template);
  const std::string prompt =
      prompt_of(R"(,"chat_template_kwargs":{"tone":"<｜User｜>","bos_token":"other"})");
  EXPECT_THAT(prompt, HasSubstr(" <｜User｜><｜User｜>hi"));
  EXPECT_TRUE(prompt.starts_with("<｜begin▁of▁sentence｜>"));
  const TokenId user = tokenizer_->find_added("<｜User｜>").value();
  EXPECT_EQ(std::count(submit_->tokens.begin(), submit_->tokens.end(), user), 1);
}

TEST_F(TemplateTest, thinking_is_switched_by_any_of_its_names) {
  start(Kind::own_template);
  for (const char* on :
       {R"(,"thinking":{"type":"enabled"})", R"(,"chat_template_kwargs":{"thinking":true})",
        R"(,"chat_template_kwargs":{"enable_thinking":true})"})
    EXPECT_TRUE(prompt_of(on).ends_with("<think>")) << on;
  for (const char* off : {R"(,"reasoning_effort":"none")", R"(,"thinking":{"type":"disabled"})",
                          R"(,"chat_template_kwargs":{"enable_thinking":false})"})
    EXPECT_TRUE(prompt_of(off).ends_with("</think>")) << off;
}

TEST_F(TemplateTest, tokenize_shows_the_prompt_that_the_chat_would_get) {
  start(Kind::own_template);
  const auto tokenize = [&](std::string_view extra) {
    return post("/tokenize",
                R"({"messages":[{"role":"user","content":"hi"}])" + std::string(extra) + "}");
  };
  for (const char* extra :
       {"", R"(,"chat_template_kwargs":{"tone":"soft"})",
        R"(,"chat_template_kwargs":{"enable_thinking":true,"tone":"<｜User｜>"})",
        R"(,"thinking":{"type":"enabled"})", R"(,"reasoning_effort":"none")"}) {
    const std::string prompt = prompt_of(extra);
    ASSERT_TRUE(submit_) << extra;
    const auto counted = parsed(tokenize(extra).body);
    EXPECT_EQ(at(counted, "/tokens"),
              boost::json::serialize(boost::json::value_from(submit_->tokens)))
        << prompt;
  }
  const RawResponse refused = tokenize(R"(,"chat_template_kwargs":{"thinking":"yes"})");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(at(parsed(refused.body), "/error/param"), "chat_template_kwargs.thinking");
}

TEST_F(TemplateTest, a_prompt_that_opens_a_thought_gives_reasoning) {
  start(Kind::own_template);
  router_.answer_by(says("because</think>\n\nyes"));
  const auto thought = parsed(chat(R"(,"chat_template_kwargs":{"thinking":true})").body);
  EXPECT_EQ(at(thought, "/choices/0/message/reasoning_content"), "because");
  EXPECT_EQ(at(thought, "/choices/0/message/content"), "yes");
  const auto plain = parsed(chat().body);
  EXPECT_EQ(at(plain, "/choices/0/message/content"), "because</think>\n\nyes");
}

TEST_F(TemplateTest, an_earlier_thought_reaches_the_template) {
  start(Kind::own_template);
  router_.answer_by(says("x"));
  const RawResponse response = post("/v1/chat/completions", R"({"model":"tiny","messages":[
      {"role":"user","content":"a"},
      {"role":"assistant","content":"b","reasoning_content":"<think>c"},
      {"role":"user","content":"d"}]})");
  ASSERT_EQ(response.status, 200) << response.body;
  const auto submit = router_.next_submit();
  EXPECT_THAT(tokenizer_->decode(submit->tokens, false),
              HasSubstr("<｜User｜>a<｜Assistant｜>b[<think>c]<｜User｜>d"));
  EXPECT_THAT(submit->tokens, testing::Not(Contains(tokenizer_->find_added("<think>").value())));
}

TEST_F(TemplateTest, end_tokens_that_the_operator_names_are_the_only_ones) {
  start(Kind::own_template, {.eos_token_ids = {7}});
  prompt_of("");
  EXPECT_THAT(submit_->sampling.stop_tokens, ElementsAre(7));
}

TEST_F(TemplateTest, what_the_template_raises_is_a_400_with_its_words) {
  start(Kind::own_template);
  const RawResponse response = post(
      "/v1/chat/completions",
      R"({"model":"tiny","messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}]})");
  EXPECT_EQ(response.status, 400);
  const auto body = parsed(response.body);
  EXPECT_EQ(at(body, "/error/message"), "system comes first");
  EXPECT_EQ(at(body, "/error/param"), "messages");
}

}  // namespace
}  // namespace fathom
