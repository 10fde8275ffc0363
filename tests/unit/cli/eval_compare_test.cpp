#include "cli/eval_compare.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

struct Asked {
  std::vector<EvalQuestion> questions;
  std::vector<EvalOutcome> outcomes;
};

EvalAnswer answer(std::string content, std::string reasoning = "so") {
  return {.reasoning = std::move(reasoning),
          .content = std::move(content),
          .calls = {},
          .finish_reason = "stop",
          .usage = {}};
}

EvalQuestion question(uint64_t digest) {
  EvalQuestion q;
  q.task = "t" + std::to_string(digest);
  q.shown = "asked " + std::to_string(digest);
  q.digest = digest;
  return q;
}

class EvalCompare : public ::testing::Test {
 protected:
  EvalCompare() {
    for (uint64_t i = 0; i < 6; ++i) questions_.push_back(question(i));
  }
  void asked(size_t i, bool right, EvalAnswer with, std::string error = {}) {
    outcomes_.push_back({.question = &questions_[i],
                         .error = std::move(error),
                         .right = right,
                         .answer = std::move(with),
                         .first_token_seconds = {}});
  }
  std::vector<EvalQuestion> questions_;
  std::vector<EvalOutcome> outcomes_;
};

TEST_F(EvalCompare, answers_kept_are_answers_again) {
  asked(0, true, answer("é \"1\"\n"));
  outcomes_[0].answer.calls = {{"f", R"({"a":1})"}};
  outcomes_[0].first_token_seconds = 0.25;
  asked(1, false, {}, "429 too many");
  const std::string text = kept_answers_text(outcomes_);
  const auto kept = parse_kept_answers(text, "a.jsonl").value();
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_TRUE(same_text(kept[0].answer, outcomes_[0].answer));
  EXPECT_TRUE(kept[0].right);
  EXPECT_EQ(kept[0].digest, 0u);
  EXPECT_EQ(kept[1].error, "429 too many");
  EXPECT_EQ(compare_answers(outcomes_, kept).same, 1);
}

TEST_F(EvalCompare, pairs_are_found_by_question_wherever_they_stand) {
  asked(0, true, answer("a"));
  asked(1, true, answer("b"));
  asked(2, false, answer("c"));
  asked(3, true, answer("d"));
  asked(4, true, {}, "lost");
  const auto earlier = parse_kept_answers(kept_answers_text(outcomes_), "a").value();
  outcomes_.clear();
  asked(5, true, answer("only now"));
  asked(4, true, answer("now it answers"));
  asked(2, true, answer("C"));
  asked(1, false, answer("b", "so, after all"));
  asked(0, true, answer("a"));
  const EvalComparison c = compare_answers(outcomes_, earlier);
  EXPECT_EQ(c.pairs, 3);
  EXPECT_EQ(c.same, 1);
  EXPECT_EQ(c.gained, 1);
  EXPECT_EQ(c.lost, 1);
  EXPECT_EQ(c.right_now, 2);
  EXPECT_EQ(c.right_earlier, 2);
  EXPECT_EQ(c.only_now, 2);
  EXPECT_EQ(c.only_earlier, 1);
  EXPECT_EQ(c.accuracy.p, 1);
  ASSERT_EQ(c.differences.size(), 2u);
  EXPECT_EQ(c.differences[0].part, "content");
  EXPECT_EQ(c.differences[0].character, 0u);
  EXPECT_EQ(c.differences[0].now, "C");
  EXPECT_EQ(c.differences[0].earlier, "c");
  EXPECT_EQ(c.differences[1].part, "reasoning");
  EXPECT_EQ(c.differences[1].character, 2u);
}

TEST_F(EvalCompare, a_question_asked_twice_is_compared_twice) {
  asked(0, true, answer("first"));
  asked(0, true, answer("second"));
  const auto earlier = parse_kept_answers(kept_answers_text(outcomes_), "a").value();
  EXPECT_EQ(compare_answers(outcomes_, earlier).same, 2);
  outcomes_.pop_back();
  EXPECT_EQ(compare_answers(outcomes_, earlier).only_earlier, 1);
}

TEST_F(EvalCompare, calls_and_ends_differ_too) {
  asked(0, true, answer("a"));
  const auto earlier = parse_kept_answers(kept_answers_text(outcomes_), "a").value();
  outcomes_[0].answer.finish_reason = "length";
  EXPECT_EQ(compare_answers(outcomes_, earlier).differences.at(0).part, "finish_reason");
  outcomes_[0].answer.calls = {{"f", "{}"}};
  EXPECT_EQ(compare_answers(outcomes_, earlier).differences.at(0).part, "tool_calls");
}

TEST_F(EvalCompare, a_file_of_something_else_is_refused_by_line_and_field) {
  asked(0, true, answer("a"));
  const std::string good = kept_answers_text(outcomes_);
  const struct {
    const char* from;
    const char* to;
    const char* field;
  } rows[] = {{"\"task\"", "\"tusk\"", "task"},
              {"0000\"", "000g\"", "digest"},
              {"\"right\":true", "\"right\":1", "right"},
              {"\"content\"", "\"c\"", "content"},
              {"\"tool_calls\":[]", "\"tool_calls\":[1]", "tool_calls"},
              {"{", "[", ""}};
  for (const auto& row : rows) {
    std::string bad = good;
    bad.replace(bad.find(row.from), std::string_view(row.from).size(), row.to);
    const auto parsed = parse_kept_answers(good + bad, "a.jsonl");
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.error().field, row.field);
    EXPECT_TRUE(parsed.error().message.starts_with("line 2 of a.jsonl: "))
        << parsed.error().message;
  }
  EXPECT_FALSE(parse_kept_answers("", "a.jsonl").ok());
}

}  // namespace
}  // namespace fathom
