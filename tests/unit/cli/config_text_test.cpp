#include "cli/config_text.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

struct Inner {
  std::string name = "x";
  int64_t size = 3;
  template <class V>
  void fields(V& v) {
    v("name", name, "its name");
    v("size", size, "its size");
  }
};

struct Outer {
  std::string text;
  double ratio = 0.1;
  bool on = false;
  int32_t count = -4;
  Inner inner;
  std::vector<std::string> words;
  std::vector<Inner> list;
  template <class V>
  void fields(V& v) {
    v("text", text, "any text");
    v("ratio", ratio, "a ratio");
    v("on", on, "a switch");
    v("count", count, "a count");
    v("inner", inner, "one inside");
    v("words", words, "some words");
    v("list", list, "several");
  }
};

TEST(ConfigText, what_is_written_reads_back_equal) {
  Outer outer;
  outer.text = "quote \" backslash \\ colon: hash # line\nend \x01 é";
  outer.on = true;
  outer.inner.name = "true";
  outer.words = {"a", "- b", ""};
  outer.list = {{"one", 1}, {"two", 2}};
  const auto read = config_from_text<Outer>(config_text(outer));
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_EQ(read->text, outer.text);
  EXPECT_EQ(read->ratio, 0.1);
  EXPECT_TRUE(read->on);
  EXPECT_EQ(read->count, -4);
  EXPECT_EQ(read->inner.name, "true");
  EXPECT_EQ(read->words, outer.words);
  ASSERT_EQ(read->list.size(), 2u);
  EXPECT_EQ(read->list[1].size, 2);
}

TEST(ConfigText, descriptions_are_comments) {
  const std::string text = config_text(Outer{}, true);
  EXPECT_NE(text.find("# a ratio\nratio: 0.1\n"), std::string::npos) << text;
  EXPECT_TRUE(config_from_text<Outer>(text).ok());
}

}  // namespace
}  // namespace fathom
