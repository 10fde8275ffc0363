// Do the hand-written splitters cut as the patterns say? PCRE2 is the oracle; and what PCRE2 would
// read differently from the engine the patterns were written for is refused.
#include "text/split.h"

#include <gtest/gtest.h>

#include "tests/unit/text/random_text.h"

namespace fathom::testing {
namespace {

const std::vector<std::string>& published_patterns() {
  static const std::vector<std::string> patterns = {
      R"(\p{N}{1,3})",
      "[一-龥぀-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./"
      ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
      " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
      R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
      R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
      std::string(kByteLevelPattern)};
  return patterns;
}

std::unique_ptr<SplitStage> regex(const SplitRule& rule) {
  auto stage = regex_split(rule);
  EXPECT_TRUE(stage.ok()) << stage.error().text();
  return stage.ok() ? std::move(*stage) : nullptr;
}

std::vector<std::string> pieces(const SplitStage& stage, std::string_view text) {
  std::vector<Piece> cut;
  stage.split(text, {0, text.size()}, cut);
  std::vector<std::string> out;
  for (const Piece& piece : cut)
    out.emplace_back(text.substr(piece.begin, piece.end - piece.begin));
  return out;
}

using Strings = std::vector<std::string>;

TEST(split, every_published_pattern_is_cut_by_hand_exactly_as_by_pcre2) {
  for (const std::string& pattern : published_patterns()) {
    const auto known = known_split(pattern);
    ASSERT_NE(known, nullptr) << pattern;
    const auto oracle = regex({.pattern = pattern});
    RandomText random(7);
    for (int i = 0; i < 4000; ++i) {
      const std::string text = random.next(20);
      ASSERT_EQ(pieces(*known, text), pieces(*oracle, text)) << pattern << "\n" << text;
    }
  }
}

TEST(split, a_piece_is_cut_as_if_nothing_were_around_it) {
  for (const std::string& pattern : published_patterns())
    for (const bool by_hand : {true, false}) {
      const auto stage = by_hand ? known_split(pattern) : regex({.pattern = pattern});
      const std::string text = "a b  \n c's1234 日本";
      std::vector<Piece> inside, alone;
      stage->split("xx" + text + "yy", {2, 2 + text.size()}, inside);
      stage->split(text, {0, text.size()}, alone);
      for (Piece& piece : alone) piece = {piece.begin + 2, piece.end + 2};
      EXPECT_EQ(inside, alone) << pattern;
    }
}

TEST(split, white_space_is_unicodes_and_not_pcre2s) {
  // U+180E is white space to PCRE2's \s, but not to Unicode.
  const auto stage = regex({.pattern = R"(\s+)"});
  EXPECT_EQ(pieces(*stage, "a\u180e\u3000b"), (Strings{"a\u180e", "\u3000", "b"}));
  EXPECT_EQ(pieces(*regex({.pattern = R"(\S+)"}), "a \u180e"), (Strings{"a", " ", "\u180e"}));
}

TEST(split, removed_and_inverted_rules_keep_what_they_say) {
  const auto keep = [](SplitBehavior behavior, bool invert) {
    return pieces(*regex({.pattern = ",", .behavior = behavior, .invert = invert}), "a,b,,c");
  };
  EXPECT_EQ(keep(SplitBehavior::isolated, false), (Strings{"a", ",", "b", ",", ",", "c"}));
  EXPECT_EQ(keep(SplitBehavior::removed, false), (Strings{"a", "b", "c"}));
  EXPECT_EQ(keep(SplitBehavior::removed, true), (Strings{",", ",", ","}));
}

TEST(split, digits_are_cut_one_by_one_or_as_runs) {
  EXPECT_EQ(pieces(*digits_split(true), "ab12c"), (Strings{"ab", "1", "2", "c"}));
  EXPECT_EQ(pieces(*digits_split(false), "ab12c"), (Strings{"ab", "12", "c"}));
}

TEST(split, a_dollar_is_the_end_of_a_line_but_not_behind_the_last_line_feed) {
  const auto stage = regex_split({.pattern = R"(\s+$)"}).value();
  EXPECT_EQ(pieces(*stage, "a  b  "), (Strings{"a  b", "  "}));
  EXPECT_EQ(pieces(*stage, "a \n\nb \n"), (Strings{"a", " \n", "\nb", " ", "\n"}));
}

TEST(split, what_the_two_engines_read_differently_is_refused) {
  for (const char* pattern : {"^a", R"(\w+)", R"(\bab)", R"([^\S]+)", "[a[bc]]", "[a&&b]",
                              "a{1,2}+", "[]a]", R"(\h)", R"((?<name>a))", "(*UTF)a", "\\"}) {
    const auto stage = regex_split({.pattern = pattern});
    ASSERT_FALSE(stage.ok()) << pattern;
    EXPECT_EQ(stage.error().code, Code::unimplemented) << pattern;
  }
}

TEST(split, a_pattern_that_is_broken_or_matches_nothing_at_all_is_refused) {
  EXPECT_EQ(regex_split({.pattern = "(a"}).error().code, Code::invalid_argument);
  EXPECT_EQ(regex_split({.pattern = "a*"}).error().code, Code::unimplemented);
}

}  // namespace
}  // namespace fathom::testing
