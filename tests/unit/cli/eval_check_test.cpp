#include "cli/eval_check.h"

#include <gtest/gtest.h>
#include <boost/json/parse.hpp>

namespace fathom {
namespace {

EvalCheck number(double want) {
  return {.kind = EvalCheckKind::number, .number = want, .text = {}, .value = {}};
}
EvalCheck text(EvalCheckKind kind, std::string want) {
  return {.kind = kind, .text = std::move(want), .value = {}};
}
EvalCheck json(const char* want) {
  return {.kind = EvalCheckKind::json, .text = {}, .value = boost::json::parse(want)};
}
EvalCheck call(const char* arguments) {
  return {.kind = EvalCheckKind::call, .text = "f", .value = boost::json::parse(arguments)};
}

bool said(const EvalCheck& check, const std::string& content, std::vector<EvalCall> calls = {}) {
  return is_right(check, {.reasoning = {},
                          .content = content,
                          .calls = std::move(calls),
                          .finish_reason = "stop",
                          .usage = {}});
}

TEST(EvalCheck, the_last_number_counts) {
  EXPECT_TRUE(said(number(12), "7 + 5 = 12."));
  EXPECT_FALSE(said(number(12), "12 = 7 + 5"));
  EXPECT_TRUE(said(number(1234567), "It is 1,234,567."));
  EXPECT_TRUE(said(number(-3), "4 - 7 is -3"));
  EXPECT_TRUE(said(number(-3), "1-3"));  // as the rules have it: the sign binds
  EXPECT_TRUE(said(number(2.5), "2.50."));
  EXPECT_TRUE(said(number(3), "1.2.3"));
  EXPECT_TRUE(said(number(42), "٤٢"));
  EXPECT_FALSE(said(number(0), "none"));
  EXPECT_FALSE(said(number(0), ""));
}

TEST(EvalCheck, contains_ignores_case_and_exact_ignores_only_white_space_around) {
  EXPECT_TRUE(said(text(EvalCheckKind::contains, "Straße"), "die STRASSE, die straße"));
  EXPECT_TRUE(said(text(EvalCheckKind::contains, "no,"), "No, it is not."));
  EXPECT_FALSE(said(text(EvalCheckKind::contains, "yes"), "No."));
  EXPECT_TRUE(said(text(EvalCheckKind::exact, "A b"), "\n A b\u00a0"));
  EXPECT_FALSE(said(text(EvalCheckKind::exact, "A b"), "a b"));
}

TEST(EvalCheck, json_is_compared_by_value) {
  EXPECT_TRUE(said(json(R"({"a": [1, "x"], "b": null})"), R"( {"b":null, "a":[1.0,"x"]} )"));
  EXPECT_FALSE(said(json(R"({"a": [1, 2]})"), R"({"a": [2, 1]})"));
  EXPECT_FALSE(said(json(R"({"a": 1})"), R"({"a": 1, "b": 2})"));
  EXPECT_FALSE(said(json(R"({"a": 1})"), R"({"a": "1"})"));
  EXPECT_FALSE(said(json("9007199254740993"), "9007199254740992.0"));
  EXPECT_FALSE(said(json("[]"), "here it is: []"));
  EXPECT_FALSE(said(json("[]"), ""));
}

TEST(EvalCheck, a_call_needs_its_name_and_arguments_and_others_need_none) {
  const EvalCheck check = call(R"({"city": "Rome", "days": 2})");
  const EvalCall good{.name = "f", .arguments = R"({"days": 2, "city": "Rome"})"};
  EXPECT_TRUE(said(check, "", {good}));
  EXPECT_TRUE(said(check, "I call it.", {good}));
  EXPECT_FALSE(said(check, "", {}));
  EXPECT_FALSE(said(check, "", {good, good}));
  EXPECT_FALSE(said(check, "", {{.name = "g", .arguments = good.arguments}}));
  EXPECT_FALSE(said(check, "", {{.name = "f", .arguments = R"({"days": 2})"}}));
  EXPECT_FALSE(said(check, "", {{.name = "f", .arguments = "{\"days\": 2"}}));
  EXPECT_FALSE(said(number(12), "12", {good}));
}

}  // namespace
}  // namespace fathom
