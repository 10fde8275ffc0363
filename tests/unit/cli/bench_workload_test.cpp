#include "cli/bench_workload.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>
#include <set>

namespace fathom {
namespace {

BenchServeOptions ranges() {
  BenchServeOptions options;
  options.prompt = {4, 9};
  options.output = {10, 20};
  options.vocab = 50;
  options.seed = 7;
  return options;
}

TEST(Workload, the_same_seed_asks_the_same) {
  const auto one = Workload::make(ranges());
  const auto other = Workload::make(ranges());
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(one->item(i, "m").body, other->item(i, "m").body);
  EXPECT_NE(one->item(0, "m").body, one->item(1, "m").body);
}

TEST(Workload, lengths_and_token_ids_stay_in_their_ranges) {
  const auto workload = Workload::make(ranges());
  std::set<int32_t> prompt_lengths;
  for (uint64_t i = 0; i < 200; ++i) {
    const WorkItem item = workload->item(i, "m");
    const auto body = boost::json::parse(item.body);
    const auto& prompt = body.at("prompt").as_array();
    EXPECT_EQ(static_cast<int32_t>(prompt.size()), item.prompt_tokens);
    EXPECT_EQ(body.at("max_tokens").as_int64(), item.output_tokens);
    EXPECT_TRUE(item.output_tokens >= 10 && item.output_tokens <= 20) << item.output_tokens;
    for (const auto& id : prompt) EXPECT_TRUE(id.as_int64() >= 3 && id.as_int64() < 50) << id;
    prompt_lengths.insert(item.prompt_tokens);
  }
  EXPECT_EQ(prompt_lengths, (std::set<int32_t>{4, 5, 6, 7, 8, 9}));
}

TEST(Workload, moments_have_the_asked_rate) {
  BenchServeOptions options = ranges();
  options.rate = 50;
  const auto workload = Workload::make(options);
  double total = 0;
  for (uint64_t i = 0; i < 20000; ++i) total += workload->gap(i).to_seconds();
  EXPECT_NEAR(total / 20000, 0.02, 0.0006);
}

TEST(Workload, a_file_of_lengths_is_taken_in_turn) {
  const auto path = std::filesystem::temp_directory_path() / "fathom_lengths_test";
  std::ofstream(path) << "# prompt output\n3 4\n5 6\n";
  BenchServeOptions options = ranges();
  options.lengths_file = path;
  const auto workload = Workload::make(options);
  ASSERT_TRUE(workload.ok());
  EXPECT_EQ(workload->item(1, "m").prompt_tokens, 5);
  EXPECT_EQ(workload->item(2, "m").output_tokens, 4);
  std::ofstream(path) << "3 four\n";
  EXPECT_EQ(Workload::make(options).error().field, path.string());
  std::filesystem::remove(path);
  EXPECT_EQ(Workload::make(options).error().code, Code::not_found);
}

TEST(Workload, a_length_is_a_number_or_a_range) {
  EXPECT_EQ(parse_length("12", "--x")->most, 12);
  EXPECT_EQ(parse_length("12-40", "--x")->most, 40);
  for (const char* bad : {"", "0", "-3", "9-3", "a", "3-", "3-b", "1.5"})
    EXPECT_EQ(parse_length(bad, "--x").error().field, "--x") << bad;
}

}  // namespace
}  // namespace fathom
