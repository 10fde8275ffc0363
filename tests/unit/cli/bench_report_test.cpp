#include "cli/bench_report.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace fathom {
namespace {

TEST(BenchReport, percentiles_are_the_nearest_rank) {
  Samples samples;
  for (int i = 100; i >= 1; --i) samples.add(i);
  EXPECT_EQ(samples.percentile(50), 50);
  EXPECT_EQ(samples.percentile(99), 99);
  EXPECT_EQ(samples.percentile(100), 100);
  EXPECT_EQ(samples.percentile(0), 1);
  EXPECT_DOUBLE_EQ(samples.mean(), 50.5);
}

TEST(BenchReport, samples_added_after_a_question_count_in_the_next_answer) {
  Samples samples;
  samples.add(2);
  EXPECT_EQ(samples.percentile(100), 2);
  samples.add(1, 3);
  EXPECT_EQ(samples.percentile(50), 1);
  EXPECT_EQ(samples.percentile(100), 2);
  EXPECT_EQ(samples.count(), 4u);
}

TEST(BenchReport, no_samples_are_zero) {
  EXPECT_EQ(Samples().percentile(99), 0);
  EXPECT_EQ(Samples().mean(), 0);
}

TEST(BenchReport, json_holds_what_the_table_shows) {
  BenchReport report;
  report.model = "a \"quoted\" model";
  report.requests_ok = 2;
  report.requests_failed = 1;
  report.errors["429 queue is full"] = 1;
  report.output_tokens = 40;
  report.seconds = 4;
  report.first_token.add(0.25);
  const auto root = boost::json::parse(report_json(report));
  EXPECT_EQ(root.at("model").as_string(), "a \"quoted\" model");
  EXPECT_EQ(root.at("requests").at("ok").as_int64(), 2);
  EXPECT_EQ(root.at("errors").at("429 queue is full").as_int64(), 1);
  EXPECT_EQ(root.at("output_tokens_per_second").as_double(), 10.0);
  EXPECT_EQ(root.at("time_to_first_token_seconds").at("p99").as_double(), 0.25);
  EXPECT_NE(report_table(report).find("429 queue is full"), std::string::npos);
}

}  // namespace
}  // namespace fathom
