#include "cli/eval_report.h"

#include <gtest/gtest.h>
#include <boost/json/parse.hpp>

namespace fathom {
namespace {

namespace json = boost::json;

EvalQuestion question(const std::string& task, const std::string& topic) {
  EvalQuestion q;
  q.task = task;
  q.topic = topic;
  q.shown = "asked";
  q.want = "wanted";
  return q;
}

class EvalReportTest : public ::testing::Test {
 protected:
  // Answers to `task`: so many right, wrong and without an answer.
  void answers(const std::string& task, const std::string& topic, int right, int wrong,
               int failed = 0) {
    for (int i = 0; i < right + wrong + failed; ++i) {
      questions_.push_back(question(task, topic));
      kinds_.push_back(i < right ? 0 : i < right + wrong ? 1 : 2);
    }
  }
  EvalReport report(const std::vector<std::string>& at_least = {}) {
    EvalRun run;
    run.model = "m";
    run.seconds = 2;
    for (size_t i = 0; i < kinds_.size(); ++i) {
      EvalOutcome outcome{.question = &questions_[i],
                          .error = kinds_[i] == 2 ? "400 no tools" : "",
                          .right = kinds_[i] == 0,
                          .answer = {},
                          .first_token_seconds = {}};
      if (kinds_[i] != 2) {
        outcome.answer.content = "said";
        outcome.answer.finish_reason = "stop";
        outcome.answer.usage = {.prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 5};
        outcome.first_token_seconds = 0.5;
      }
      run.outcomes.push_back(outcome);
    }
    EvalReport made = make_eval_report({}, run, questions_);
    std::vector<EvalThreshold> thresholds;
    for (const auto& text : at_least) thresholds.push_back(parse_eval_threshold(text).value());
    EXPECT_TRUE(judge_eval(made, thresholds).ok());
    return made;
  }
  std::vector<EvalQuestion> questions_;
  std::vector<int> kinds_;
};

TEST_F(EvalReportTest, questions_without_an_answer_are_counted_apart_and_never_right) {
  answers("add", "arithmetic", 3, 1);
  answers("tool_call", "tools", 0, 0, 2);
  const EvalReport made = report();
  EXPECT_EQ(made.total.right, 3);
  EXPECT_EQ(made.total.answered, 4);
  EXPECT_EQ(made.total.failed, 2);
  EXPECT_EQ(made.total.accuracy(), 0.75);
  EXPECT_EQ(made.errors.at("400 no tools"), 2);
  EXPECT_EQ(made.usage.completion_tokens, 20);
  EXPECT_EQ(eval_exit_code(made), 2) << "not everything was asked";
  const std::string table = eval_table(made, 5);
  EXPECT_NE(table.find("no answer, 2 times: 400 no tools"), std::string::npos) << table;
  EXPECT_NE(
      table.find("add                                 3        4     75.0 %    30.1 to  95.4 %"),
      std::string::npos)
      << table;
  EXPECT_NE(table.find("wrong, add\n  asked   asked\n  said    said\n  wanted  wanted\n"),
            std::string::npos)
      << table;
}

TEST_F(EvalReportTest, thresholds_hold_for_everything_a_topic_or_a_task) {
  answers("add", "arithmetic", 19, 1);
  answers("recall", "recall", 1, 1);
  answers("told", "recall", 2, 0);
  EXPECT_EQ(eval_exit_code(report({"arithmetic=95"})), 0) << "19 of 20 are 95 %";
  EXPECT_EQ(eval_exit_code(report({"add=95", "95.1"})), 1);
  EXPECT_EQ(eval_exit_code(report({"recall=75"})), 0) << "the topic, not the task of that name";
  EXPECT_EQ(eval_exit_code(report({"recall=76"})), 1);
  EXPECT_EQ(eval_exit_code(report({"told=100", "100"})), 1);
  EXPECT_NE(eval_table(report({"recall=76"}), 0).find("recall: 75.0 %, at least 76 %: MISSED"),
            std::string::npos);
}

TEST_F(EvalReportTest, a_threshold_is_not_met_by_silence) {
  answers("add", "arithmetic", 1, 0);
  answers("tool_call", "tools", 0, 0, 1);
  EXPECT_EQ(eval_exit_code(report({"tools=0"})), 1);
}

TEST_F(EvalReportTest, words_that_are_no_threshold_are_refused) {
  for (const char* text : {"", "x", "=95", "recall=", "recall=x", "101", "-1", "nan", "95%"})
    EXPECT_EQ(parse_eval_threshold(text).error().field, "--at-least") << text;
  answers("add", "arithmetic", 1, 0);
  EvalReport made = report();
  EXPECT_EQ(judge_eval(made, {{.name = "recall", .percent = 1}}).error().field, "--at-least");
}

TEST_F(EvalReportTest, the_exit_code_says_what_came_out) {
  answers("add", "arithmetic", 2, 0);
  EvalReport made = report({"50"});
  EXPECT_EQ(eval_exit_code(made), 0);
  made.comparison = EvalComparison{.pairs = 2, .same = 1, .differences = {}};
  EXPECT_EQ(eval_exit_code(made), 0) << "nobody demanded the same text";
  made.same_text_demanded = true;
  EXPECT_EQ(eval_exit_code(made), 1);
  made.comparison->same = 2;
  EXPECT_EQ(eval_exit_code(made), 0);
  made.comparison = EvalComparison{};
  EXPECT_EQ(eval_exit_code(made), 2) << "nothing to compare";
  made.interrupted = true;
  EXPECT_EQ(eval_exit_code(made), 130);
}

TEST_F(EvalReportTest, the_json_has_every_number_of_the_table) {
  answers("add", "arithmetic", 3, 1);
  answers("tool_call", "tools", 0, 0, 2);
  EvalReport made = report({"arithmetic=80"});
  made.against = "earlier.jsonl";
  made.comparison = EvalComparison{.pairs = 4,
                                   .same = 3,
                                   .differences = {{.task = "add",
                                                    .question = "q",
                                                    .part = "content",
                                                    .character = 2,
                                                    .now = "a",
                                                    .earlier = "b"}}};
  const json::value root = json::parse(eval_json(made, 1));
  EXPECT_EQ(root.at("total").at("right").as_int64(), 3);
  EXPECT_EQ(root.at("total").at("answered").as_int64(), 4);
  EXPECT_EQ(root.at("total").at("failed").as_int64(), 2);
  EXPECT_EQ(root.at("topics").at(0).at("name").as_string(), "arithmetic");
  EXPECT_TRUE(root.at("tasks").at(1).at("accuracy").is_null());
  EXPECT_EQ(root.at("errors").at("400 no tools").as_int64(), 2);
  EXPECT_EQ(root.at("tokens").at("completion_per_second").as_double(), 10);
  EXPECT_EQ(root.at("first_token_seconds").at("p50").as_double(), 0.5);
  EXPECT_EQ(root.at("wrong").at(0).at("wanted").as_string(), "wanted");
  EXPECT_FALSE(root.at("thresholds").at(0).at("met").as_bool());
  EXPECT_EQ(root.at("against").at("same_text").as_int64(), 3);
  EXPECT_EQ(root.at("against").at("differences").at(0).at("there").as_string(), "b");
  EXPECT_EQ(root.at("exit_code").as_int64(), 1);
}

}  // namespace
}  // namespace fathom
