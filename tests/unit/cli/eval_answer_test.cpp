#include "cli/eval_answer.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(EvalAnswer, a_stream_adds_up) {
  EvalAnswerReader reader;
  EXPECT_FALSE(
      reader.event(R"({"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null})"));
  EXPECT_TRUE(reader.event(R"({"choices":[{"delta":{"reasoning_content":"Hm"}}]})"));
  EXPECT_TRUE(reader.event(R"({"choices":[{"delta":{"content":"Ja"}}]})"));
  EXPECT_TRUE(reader.event(R"({"choices":[{"delta":{"content":"!"}}]})"));
  reader.event(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})");
  reader.event(
      R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}})");
  reader.event("[DONE]");
  const EvalAnswer answer = reader.take().value();
  EXPECT_EQ(answer.reasoning, "Hm");
  EXPECT_EQ(answer.content, "Ja!");
  EXPECT_EQ(answer.finish_reason, "stop");
  EXPECT_EQ(answer.usage.prompt_tokens, 9);
  EXPECT_EQ(answer.usage.cached_tokens, 4);
  EXPECT_EQ(answer.usage.completion_tokens, 3);
}

TEST(EvalAnswer, pieces_of_tool_calls_find_their_call) {
  EvalAnswerReader reader;
  EXPECT_TRUE(reader.event(
      R"({"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]})"));
  reader.event(
      R"({"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]})");
  reader.event(
      R"({"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"name":"g","arguments":"{}"}}]}}]})");
  reader.event(
      R"({"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]})");
  reader.event(R"({"choices":[{"delta":{},"finish_reason":"tool_calls"}]})");
  reader.event("[DONE]");
  const std::vector<EvalCall> wanted = {{"f", R"({"a":1})"}, {"g", "{}"}};
  EXPECT_EQ(reader.take()->calls, wanted);

  EvalAnswerReader whole;
  whole.whole(
      R"({"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}},)"
      R"({"function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]})");
  EXPECT_EQ(whole.take()->calls, wanted);
}

TEST(EvalAnswer, what_did_not_end_well_is_no_answer) {
  EvalAnswerReader cut;
  cut.event(R"({"choices":[{"delta":{"content":"Ja"},"finish_reason":"stop"}]})");
  EXPECT_EQ(cut.take().error().message, "the answer ended before its end");

  EvalAnswerReader told;
  told.event(R"({"error":{"message":"the router is away"}})");
  told.event("[DONE]");
  EXPECT_EQ(told.take().error().message, "the router is away");

  EvalAnswerReader late;  // a whole answer that failed after its early 200
  late.whole(
      R"({"choices":[{"message":{"content":""},"finish_reason":"x"}],"error":{"message":"too late"}})");
  EXPECT_EQ(late.take().error().message, "too late");

  for (const char* body :
       {"", "{}", "[]", "{\"choices\":[]}", "{\"choices\":[{\"message\":1}]}", "<html>"}) {
    EvalAnswerReader reader;
    reader.whole(body);
    EXPECT_FALSE(reader.take().ok()) << body;
  }
  EvalAnswerReader noise;
  noise.event("{");
  noise.event("[DONE]");
  EXPECT_EQ(noise.take().error().message, "an event is not JSON");
}

TEST(EvalAnswer, an_error_is_one_line_with_its_status) {
  EXPECT_EQ(eval_error_text(400, R"({"error":{"message":"'tools'\nare \u001b[31mred"}})"),
            "400 'tools'\\nare ?[31mred");
  EXPECT_EQ(eval_error_text(502, "<html>"), "502 not an error message in JSON");
  EXPECT_EQ(eval_error_text(503, ""), "503 no message");
  EXPECT_EQ(
      eval_error_text(400, R"({"error":{"message":")" + std::string(500, 'x') + "\"}}").size(),
      4 + 160 + 3u);
}

}  // namespace
}  // namespace fathom
