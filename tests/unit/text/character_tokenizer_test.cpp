// Does SentencePiece's kind of tokenizer.json keep the library's promises? Ids and texts of a small
// one; that they equal Hugging Face's for whole families is tested in tests/differential.
#include <boost/json.hpp>

#include "tests/unit/text/golden.h"

namespace fathom::testing {
namespace {

namespace json = boost::json;
using Ids = std::vector<TokenId>;

// "<unk>", "<s>", "</s>", 256 bytes, the characters ▁helowrdé, six merges, and `<think>`, which is
// looked for behind the normalizer.
json::object file_named(const std::string& name) {
  return json::parse(
             read_text(FATHOM_SOURCE_DIR "/tests/fuzz/seeds/tokenizer_file/" + name + ".json"))
      .as_object();
}
std::shared_ptr<const Tokenizer> tokenizer(const std::string& name) {
  return Tokenizer::parse(json::serialize(file_named(name)), name).value();
}
constexpr TokenId kHello = 272, kSpace = 259, kByte = 3;

TEST(character_tokenizer, characters_are_merged_and_others_are_bytes) {
  const auto llama = tokenizer("llama2");
  EXPECT_EQ(encoded(*llama, "hello", Specials::parse), Ids{kHello});
  EXPECT_EQ(encoded(*llama, "hello hello", Specials::parse), (Ids{kHello, kHello}));
  EXPECT_EQ(encoded(*llama, "\n", Specials::parse), (Ids{kSpace, kByte + 10}));
  EXPECT_EQ(encoded(*llama, "中", Specials::parse),
            (Ids{kSpace, kByte + 0xE4, kByte + 0xB8, kByte + 0xAD}));
  EXPECT_EQ(encoded(*llama, "", Specials::parse), Ids{});
}

TEST(character_tokenizer, every_text_comes_back) {
  for (const char* name : {"llama2", "metaspace"}) {
    const auto one = tokenizer(name);
    for (const std::string text : {"hello world", "a  b\n", "中文 é 😀", "<0x0A>", ""})
      EXPECT_EQ(one->decode(encoded(*one, text, Specials::as_text), false), text) << name;
  }
  const auto llama = tokenizer("llama2");
  EXPECT_EQ(llama->decode(encoded(*llama, " hello", Specials::parse), false), " hello");
  // Metaspace takes a space that is there for its own, in Hugging Face's library too.
  const auto metaspace = tokenizer("metaspace");
  EXPECT_EQ(metaspace->decode(encoded(*metaspace, " hello", Specials::parse), false), "hello");
}

TEST(character_tokenizer, a_stream_shows_whole_characters_only) {
  const auto llama = tokenizer("llama2");
  Detokenizer stream(*llama, true);
  std::vector<std::string> shown;
  for (const TokenId id : encoded(*llama, "hello 中", Specials::parse)) {
    shown.emplace_back();
    stream.push(id, shown.back());
  }
  // An answer continues its prompt, so the space before its first word stays.
  EXPECT_EQ(shown, (std::vector<std::string>{" hello", " ", "", "", "中"}));
}

TEST(character_tokenizer, nothing_typed_becomes_a_token_even_behind_a_normalizer) {
  const auto llama = tokenizer("llama2");
  const TokenId think = llama->find_added("<think>").value();
  const auto count = [&](const MarkedText& text, TokenId wanted) {
    Ids ids;
    llama->encode(text, ids);
    return std::count(ids.begin(), ids.end(), wanted);
  };
  // The library looks for it as ▁<think>: behind a space, or at the start of a part.
  MarkedText written{.bytes = "<s>hello <think>"};
  EXPECT_EQ(count(written, think), 1);
  EXPECT_EQ(count(written, 1), 1);
  MarkedText typed{.bytes = "hello"};
  typed.append(" <think><s>", TextSource::people);
  EXPECT_EQ(count(typed, think), 0);
  EXPECT_EQ(count(typed, 1), 0);
  MarkedText half{.bytes = "hello <thi"};
  half.append("nk>", TextSource::people);
  EXPECT_EQ(count(half, think), 0);
}

TEST(character_tokenizer, a_normalizer_that_multiplies_texts_is_refused) {
  json::object file = file_named("llama2");
  json::array rules;
  for (int i = 0; i < 8; ++i)
    rules.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", rules}};
  EXPECT_EQ(Tokenizer::parse(json::serialize(file), "x").error().code, Code::unimplemented);
}

TEST(character_tokenizer, a_character_that_is_an_added_token_is_refused) {
  json::object file = file_named("llama2");
  file["added_tokens"].as_array().push_back({{"id", 260},
                                             {"content", "h"},
                                             {"single_word", false},
                                             {"lstrip", false},
                                             {"rstrip", false},
                                             {"normalized", false},
                                             {"special", true}});
  const auto refused = Tokenizer::parse(json::serialize(file), "x");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("260"), std::string::npos);
}

}  // namespace
}  // namespace fathom::testing
