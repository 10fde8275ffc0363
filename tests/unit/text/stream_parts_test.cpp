// Is what a client sees of the output independent of how it arrived? Thinking, answer and stop
// strings: any way of cutting gives the same parts, nothing that may be a marker is shown early,
// and the end releases what was held.
#include "tests/unit/text/random_text.h"

#include <gtest/gtest.h>

#include "text/reasoning.h"
#include "text/stop_text.h"

namespace fathom::testing {
namespace {

ReasoningParser::Parts parse(ReasoningStart start, const std::vector<std::string>& chunks) {
  ReasoningParser parser(start);
  ReasoningParser::Parts parts;
  for (const std::string& chunk : chunks) parser.push(chunk, parts);
  parser.flush(parts);
  return parts;
}

std::vector<std::string> cut(const std::string& text, RandomText& random) {
  std::vector<std::string> chunks;
  for (size_t at = 0; at < text.size();) {
    chunks.push_back(text.substr(at, 1 + random.below(6)));
    at += chunks.back().size();
  }
  return chunks;
}

// Text that is full of markers and of pieces of them.
std::string marked_text(RandomText& random) {
  static constexpr std::string_view kParts[] = {
      "<think>", "</think>", "<",      "</",   "thi", "nk>", "\n",  "\n\n",
      "a",       "word ",    "</thin", "STOP", "ST",  "OP",  "aab", "。"};
  std::string text;
  for (size_t count = random.below(12); count > 0; --count)
    text += kParts[random.below(std::size(kParts))];
  return text;
}

TEST(reasoning, any_cutting_gives_the_same_parts) {
  RandomText random(21);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = marked_text(random);
    for (const ReasoningStart start :
         {ReasoningStart::none, ReasoningStart::inside, ReasoningStart::maybe}) {
      const auto whole = parse(start, {text});
      const auto pieces = parse(start, cut(text, random));
      ASSERT_EQ(pieces.reasoning, whole.reasoning) << text;
      ASSERT_EQ(pieces.content, whole.content) << text;
    }
  }
}

TEST(reasoning, the_published_forms_are_parsed) {
  const auto r1 = parse(ReasoningStart::inside, {"Compare.\n</think>\n\n9.8 is larger."});
  EXPECT_EQ(r1.reasoning, "Compare.\n");
  EXPECT_EQ(r1.content, "9.8 is larger.");
  const auto first = parse(ReasoningStart::maybe, {"<think>\nHm.</think>\n\nYes."});
  EXPECT_EQ(first.reasoning, "Hm.");
  EXPECT_EQ(first.content, "Yes.");
  const auto plain = parse(ReasoningStart::maybe, {"Yes. <think>"});
  EXPECT_EQ(plain.reasoning, "");
  EXPECT_EQ(plain.content, "Yes. <think>");
  EXPECT_EQ(parse(ReasoningStart::none, {"<think>a</think>"}).content, "<think>a</think>");
}

TEST(reasoning, newlines_are_swallowed_only_right_behind_a_marker_and_only_so_many) {
  const auto parts = parse(ReasoningStart::maybe, {"<think>\n\nx\n</think>\n\n\ny\n</think>\n"});
  EXPECT_EQ(parts.reasoning, "\nx\n");
  EXPECT_EQ(parts.content, "\ny\n</think>\n");
}

TEST(reasoning, a_repeated_open_marker_is_dropped) {
  const auto parts = parse(ReasoningStart::inside, {"<think>\na<think>b</think>c"});
  EXPECT_EQ(parts.reasoning, "ab");
  EXPECT_EQ(parts.content, "c");
}

TEST(reasoning, what_may_be_a_marker_waits_and_the_end_releases_it) {
  ReasoningParser parser(ReasoningStart::inside);
  ReasoningParser::Parts parts;
  parser.push("so </thi", parts);
  EXPECT_EQ(parts.reasoning, "so ");
  EXPECT_TRUE(parser.in_reasoning());
  parser.push("s", parts);
  EXPECT_EQ(parts.reasoning, "so </this");
  parser.push("</think", parts);
  EXPECT_EQ(parts.reasoning, "so </this");
  parser.flush(parts);
  EXPECT_EQ(parts.reasoning, "so </this</think");

  ReasoningParser undecided(ReasoningStart::maybe);
  ReasoningParser::Parts begun;
  undecided.push("<thin", begun);
  EXPECT_EQ(begun.content, "");
  EXPECT_FALSE(undecided.in_reasoning());
  undecided.flush(begun);
  EXPECT_EQ(begun.content, "<thin");
}

std::string stopped(const std::vector<std::string>& stops, bool include,
                    const std::vector<std::string>& chunks) {
  StopText stop(stops, include);
  std::string out;
  for (const std::string& chunk : chunks) stop.push(chunk, out);
  stop.flush(out);
  return out;
}

TEST(stop_text, any_cutting_stops_at_the_same_place) {
  RandomText random(31);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = marked_text(random);
    const std::vector<std::string> stops = {"STOP", "aaab", "</think>", "。a"};
    for (const bool include : {false, true})
      ASSERT_EQ(stopped(stops, include, cut(text, random)), stopped(stops, include, {text}))
          << text;
  }
}

TEST(stop_text, the_first_stop_to_be_complete_ends_the_answer) {
  EXPECT_EQ(stopped({"STOP"}, false, {"a STOP b STOP"}), "a ");
  EXPECT_EQ(stopped({"STOP"}, true, {"a STOP b"}), "a STOP");
  EXPECT_EQ(stopped({"bc", "abcd"}, false, {"xabcd"}), "xa");  // "bc" is complete first
  EXPECT_EQ(stopped({"bc", "abc"}, false, {"xabcd"}), "x");    // both at once: the longer
  EXPECT_EQ(stopped({"aab"}, false, {"aaaab"}), "aa");         // a start inside a start
  EXPECT_EQ(stopped({"", "x"}, false, {"abc"}), "abc");
  EXPECT_EQ(stopped({}, false, {"abc"}), "abc");
}

TEST(stop_text, nothing_that_may_become_a_stop_is_shown_and_the_end_releases_it) {
  StopText stop({"\n\nUser:"}, false);
  std::string out;
  EXPECT_FALSE(stop.push("Yes.\n", out));
  EXPECT_EQ(out, "Yes.");
  EXPECT_FALSE(stop.push("\nUs", out));
  EXPECT_EQ(out, "Yes.");
  EXPECT_FALSE(stop.push("ually", out));
  EXPECT_EQ(out, "Yes.\n\nUsually");
  EXPECT_FALSE(stop.push("\n\nUser", out));
  stop.flush(out);
  EXPECT_EQ(out, "Yes.\n\nUsually\n\nUser");
}

TEST(stop_text, after_a_stop_nothing_more_is_shown) {
  StopText stop({"END"}, false);
  std::string out;
  EXPECT_TRUE(stop.push("a END b", out));
  EXPECT_TRUE(stop.push("more", out));
  stop.flush(out);
  EXPECT_EQ(out, "a ");
}

}  // namespace
}  // namespace fathom::testing
