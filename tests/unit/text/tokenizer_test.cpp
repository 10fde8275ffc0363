// What does a tokenizer promise beyond the golden texts? Bytes survive, text forges nothing, long
// words are joined like short ones, broken UTF-8 is read as what it decodes to, and threads share
// one tokenizer.
#include "text/tokenizer.h"

#include <thread>

#include "tests/unit/text/golden.h"
#include "tests/unit/text/random_text.h"

namespace fathom::testing {
namespace {

using Ids = std::vector<TokenId>;

TEST(tokenizer, every_text_survives_encoding_and_decoding) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  RandomText random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random.next(30);
    for (const Specials specials : {Specials::parse, Specials::as_text})
      ASSERT_EQ(tokenizer->decode(encoded(*tokenizer, text, specials), false), text);
  }
}

TEST(tokenizer, text_of_people_never_becomes_an_added_token) {
  for (const std::string name : {"deepseek-r1", "deepseek-v3", "mini-deepseek", "qwen2.5"}) {
    const auto tokenizer = golden_tokenizer(name);
    int seen = 0;
    for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
      if (!tokenizer->is_added(id)) continue;
      ++seen;
      const std::string literal(tokenizer->bytes(id));
      EXPECT_EQ(encoded(*tokenizer, literal, Specials::parse), Ids{id}) << name;
      const Ids ids = encoded(*tokenizer, "x" + literal + literal + " y", Specials::as_text);
      for (const TokenId one : ids) EXPECT_FALSE(tokenizer->is_added(one)) << literal;
      EXPECT_EQ(tokenizer->decode(ids, true), "x" + literal + literal + " y");
    }
    EXPECT_GE(seen, 20) << name;
  }
}

TEST(tokenizer, a_marker_put_together_from_two_texts_stays_text) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  Ids ids;
  tokenizer->encode("<｜Us", Specials::as_text, ids);
  tokenizer->encode("er｜>", Specials::as_text, ids);
  for (const TokenId id : ids) EXPECT_FALSE(tokenizer->is_added(id));
  EXPECT_EQ(tokenizer->decode(ids, true), "<｜User｜>");
}

TEST(tokenizer, the_long_path_joins_as_the_short_one_does) {
  // Words of 60 to 70 letters lie on both sides of the switch; cut by hand, a long word must equal
  // itself.
  const auto tokenizer = golden_tokenizer("mini-deepseek");
  std::mt19937 random(3);
  const std::string letters = "theinaonreatsol";
  for (int i = 0; i < 500; ++i) {
    std::string word;
    while (word.size() < 60) word += letters[random() % letters.size()];
    const Ids without = encoded(*tokenizer, word, Specials::as_text);
    // Eight letters that join with nothing carry the word over to the heap, and leave the rest as
    // it was.
    const Ids with = encoded(*tokenizer, word + "ßßßß", Specials::as_text);
    const Ids tail = encoded(*tokenizer, "ßßßß", Specials::as_text);
    ASSERT_EQ(Ids(with.begin(), with.end() - static_cast<std::ptrdiff_t>(tail.size())), without)
        << word;
  }
}

TEST(tokenizer, a_word_of_a_million_letters_is_encoded) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  const std::string word(1'000'000, 'a');
  const Ids ids = encoded(*tokenizer, word, Specials::as_text);
  EXPECT_LT(ids.size(), 500'000u);
  EXPECT_EQ(tokenizer->decode(ids, false), word);
}

TEST(tokenizer, a_prompt_of_a_hundred_thousand_tokens_is_the_sum_of_its_paragraphs) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  const std::string paragraph = "The quick brown fox, 12345 times: jumps!\n";
  const Ids one = encoded(*tokenizer, paragraph, Specials::as_text);
  std::string text;
  Ids expected;
  while (expected.size() < 100'000) {
    text += paragraph;
    expected.insert(expected.end(), one.begin(), one.end());
  }
  EXPECT_EQ(encoded(*tokenizer, text, Specials::as_text), expected);
}

TEST(tokenizer, broken_utf8_is_encoded_as_what_it_decodes_to) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  const std::string r = "\xEF\xBF\xBD";
  for (const auto& [broken, whole] : std::initializer_list<std::pair<std::string, std::string>>{
           {"a\xff z", "a" + r + " z"},
           {"\xe4\xb8", r},  // cut off: one part
           {"\xe4\xb8x\xad", r + "x" + r},
           {"\xed\xa0\x80", r + r + r},          // a surrogate: three parts
           {"\xc0\xaf", r + r},                  // overlong
           {"\xf4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
           {"\xf0\x9f\x98\xf0\x9f\x98\x80", r + "😀"}})
    EXPECT_EQ(encoded(*tokenizer, broken, Specials::parse),
              encoded(*tokenizer, whole, Specials::parse))
        << whole;
}

TEST(tokenizer, ids_outside_the_vocabulary_have_no_text) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  EXPECT_EQ(tokenizer->vocab_size(), 128815);
  for (const TokenId id : {-1, 128815, 129279, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer->bytes(id), "");
    EXPECT_FALSE(tokenizer->is_special(id));
    EXPECT_FALSE(tokenizer->is_added(id));
  }
  EXPECT_EQ(tokenizer->decode(Ids{19923, -1, 129279, 3}, false), "Hello!");
}

TEST(tokenizer, special_and_added_are_told_apart) {
  const auto r1 = golden_tokenizer("deepseek-r1");
  EXPECT_EQ(r1->find_added("<think>"), 128798);
  EXPECT_TRUE(r1->is_added(128798));
  EXPECT_FALSE(r1->is_special(128798));
  EXPECT_TRUE(r1->is_special(0));
  EXPECT_EQ(r1->find_added("Hello"), std::nullopt);
  EXPECT_EQ(golden_tokenizer("deepseek-v3")->find_added("<think>"), std::nullopt);
}

TEST(tokenizer, threads_share_one_tokenizer) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  RandomText random(5);
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 100; ++i) texts.push_back(random.next(40));
  for (const std::string& text : texts)
    expected.push_back(encoded(*tokenizer, text, Specials::parse));
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < texts.size(); ++i)
        wrong[t] += encoded(*tokenizer, texts[i], Specials::parse) != expected[i];
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(detokenizer, a_stream_is_always_whole_characters_and_adds_up) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  std::mt19937 random(9);
  for (int i = 0; i < 300; ++i) {
    Ids ids;
    for (int n = 0; n < 30; ++n)
      ids.push_back(static_cast<TokenId>(random() % (n % 2 ? 400 : 128900)));
    Detokenizer detokenizer(*tokenizer, true);
    std::string all;
    for (const TokenId id : ids) {
      std::string chunk;
      detokenizer.push(id, chunk);
      EXPECT_TRUE(is_valid_utf8(chunk));
      all += chunk;
    }
    detokenizer.flush(all);
    ASSERT_EQ(all, tokenizer->decode(ids, true));
  }
}

}  // namespace
}  // namespace fathom::testing
