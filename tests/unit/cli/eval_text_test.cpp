#include "cli/eval_text.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(EvalText, an_answer_can_not_move_the_cursor) {
  EXPECT_EQ(shortened("a\nb\r\x1b[2J\x7f\u009b!", 40),
            "a\\nb?"
            "?[2J"
            "?"
            "?!");
  EXPECT_EQ(shortened("größe", 3), "grö...");
  EXPECT_EQ(shortened("größe", 5), "größe");
  EXPECT_EQ(shortened("\xff\x80x", 9), "\xff\x80x");  // bytes that are no text stay bytes
}

TEST(EvalText, the_first_difference_is_a_character) {
  EXPECT_EQ(first_difference("same", "same"), 4u);
  EXPECT_EQ(first_difference("same", "sane"), 2u);
  EXPECT_EQ(first_difference("same", "same and more"), 4u);
  EXPECT_EQ(first_difference("aé", "aè"), 1u);  // their first bytes agree
  EXPECT_EQ(first_difference("ééa", "ééb"), 2u);
  EXPECT_EQ(first_difference("", "x"), 0u);
}

TEST(EvalText, an_excerpt_stands_around_its_character) {
  const std::string text = "0123456789";
  EXPECT_EQ(excerpt(text, 5, 2), "...3456...");
  EXPECT_EQ(excerpt(text, 1, 3), "0123...");
  EXPECT_EQ(excerpt(text, 10, 3), "...789");
  EXPECT_EQ(excerpt("", 0, 3), "(the end)");
}

TEST(EvalText, only_a_full_share_reads_as_full) {
  EXPECT_EQ(percent_text(1), "100.0 %");
  EXPECT_EQ(percent_text(0.9999), "99.9 %");
  EXPECT_EQ(percent_text(0.9833), "98.3 %");
  EXPECT_EQ(percent_text(0.0001), "0.1 %");
  EXPECT_EQ(percent_text(0), "0.0 %");
}

}  // namespace
}  // namespace fathom
