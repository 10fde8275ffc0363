#include "cli/eval_question.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

namespace fathom {
namespace {

constexpr const char* kAdd =
    R"({"task": "add", "messages": [{"role": "user", "content": "1 + 2 ="}], "check": {"kind": "number", "want": "3"}})";
constexpr const char* kCall =
    R"({"task": "tool_call", "messages": [{"role": "user", "content": "é?"}], "tools": [{"type": "function"}], )"
    R"("check": {"kind": "call", "want": {"name": "f", "arguments": {"a": 1}}}})";
constexpr const char* kOther =
    R"({"task": "mine", "topic": "my topic", "messages": [{"role": "user", "content": "?"}], "check": {"kind": "contains", "want": "x"}})";

std::vector<EvalQuestion> questions(const std::string& text) {
  return parse_eval_questions(text, "q.jsonl").value();
}

std::string lines(std::initializer_list<const char*> lines) {
  std::string text;
  for (const char* line : lines) text += std::string(line) + "\n";
  return text;
}

TEST(EvalQuestion, a_line_is_a_question_with_its_topic_and_what_goes_to_the_server) {
  const auto all = questions(lines({kAdd, "", kCall, kOther}));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].topic, "arithmetic");
  EXPECT_EQ(all[0].messages, R"([{"role":"user","content":"1 + 2 ="}])");
  EXPECT_EQ(all[0].tools, "");
  EXPECT_EQ(all[0].shown, "1 + 2 =");
  EXPECT_EQ(all[0].want, "3");
  EXPECT_EQ(all[0].check.number, 3);
  EXPECT_EQ(all[1].topic, "tools");
  EXPECT_EQ(all[1].tools, R"([{"type":"function"}])");
  EXPECT_EQ(all[1].check.text, "f");
  EXPECT_EQ(all[1].want, R"({"name":"f","arguments":{"a":1}})");
  EXPECT_EQ(all[2].topic, "my topic");
}

TEST(EvalQuestion, the_digest_tells_questions_apart_and_not_their_places) {
  const auto one = questions(lines({kAdd, kCall}));
  const auto two = questions(lines({kCall, kAdd}));
  EXPECT_EQ(one[0].digest, two[1].digest);
  EXPECT_NE(one[0].digest, one[1].digest);
  std::string other = kAdd;
  other.replace(other.find("\"3\""), 3, "\"4\"");
  EXPECT_NE(questions(other)[0].digest, one[0].digest);
}

TEST(EvalQuestion, what_is_no_question_is_refused_by_line_and_field) {
  const struct {
    const char* line;
    const char* field;
  } rows[] = {
      {"[]", ""},
      {"{\"task\": \"add\"", ""},
      {R"({"messages": []})", "task"},
      {R"({"task": 1})", "task"},
      {R"({"task": "a", "tusk": 1})", "tusk"},
      {R"({"task": "a", "topic": ""})", "topic"},
      {R"({"task": "a"})", "messages"},
      {R"({"task": "a", "messages": []})", "messages"},
      {R"({"task": "a", "messages": [1]})", "messages[0]"},
      {R"({"task": "a", "messages": [{"content": "x"}]})", "messages[0].role"},
      {R"({"task": "a", "messages": [{"role": "user"}], "tools": {}})", "tools"},
      {R"({"task": "a", "messages": [{"role": "user"}]})", "check"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "like", "want": 1}})",
       "check.kind"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "exact"}})",
       "check.want"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "exact", "want": 1}})",
       "check.want"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "number", "want": "one"}})",
       "check.want"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "number", "want": "nan"}})",
       "check.want"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "call", "want": {}}})",
       "check.want"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "call", "want": {"name": "f"}}})",
       "check.want.arguments"},
      {R"({"task": "a", "messages": [{"role": "user"}], "check": {"kind": "json", "want": 1, "x": 2}})",
       "check.x"},
  };
  for (const auto& row : rows) {
    const auto parsed = parse_eval_questions(lines({kAdd, "", row.line}), "q.jsonl");
    ASSERT_FALSE(parsed.ok()) << row.line;
    EXPECT_EQ(parsed.error().field, row.field) << row.line;
    EXPECT_TRUE(parsed.error().message.starts_with("line 3 of q.jsonl: "))
        << parsed.error().message;
  }
  EXPECT_EQ(parse_eval_questions("\n \n", "q.jsonl").error().message,
            "there is no question in q.jsonl");
}

TEST(EvalQuestion, tasks_and_topics_choose_and_each_task_is_cut) {
  const auto all = questions(lines({kAdd, kAdd, kCall, kOther, kAdd}));
  EXPECT_EQ(choose_eval_questions(all, {}, 0)->size(), 5u);
  EXPECT_EQ(choose_eval_questions(all, {}, 2)->size(), 4u);
  EXPECT_EQ(choose_eval_questions(all, {"add"}, 0)->size(), 3u);
  EXPECT_EQ(choose_eval_questions(all, {"arithmetic", "mine"}, 1)->size(), 2u);
  EXPECT_EQ(choose_eval_questions(all, {"my"}, 0)->size(), 1u);
  EXPECT_EQ(choose_eval_questions(all, {"recall"}, 0).error().field, "--task");
}

TEST(EvalQuestion, what_ships_with_the_model_is_understood) {
  std::ifstream file(FATHOM_SOURCE_DIR "/models/minnow/questions.jsonl");
  const auto all = questions({std::istreambuf_iterator<char>(file), {}});
  std::map<std::string, int> topics;
  for (const auto& question : all) ++topics[question.topic];
  EXPECT_EQ(all.size(), 455u);
  EXPECT_EQ(topics.size(), 7u) << "a task nobody has put into a topic";
  EXPECT_EQ(topics.count("other"), 0u);
}

}  // namespace
}  // namespace fathom
