// Is everything in a tokenizer.json either understood or refused by name? One small file, changed
// key by key, and the rules of added tokens, which the golden files do not use.
#include <boost/json.hpp>
#include <functional>

#include "tests/unit/text/golden.h"

namespace fathom::testing {
namespace {

namespace json = boost::json;

// A tokenizer whose vocabulary is the bytes, six merges, `<s>x` (which strips blanks) and `<think>`
// (a single word).
json::object small_file() {
  return json::parse(read_text(FATHOM_SOURCE_DIR "/tests/fuzz/seeds/tokenizer_file/gpt2.json"))
      .as_object();
}

Result<std::shared_ptr<const Tokenizer>> parsed(const json::object& file) {
  return Tokenizer::parse(json::serialize(file), "dir/tokenizer.json");
}

json::object added(int id, std::string_view content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

struct Refusal {
  const char* names;  // what the message must contain
  std::function<void(json::object&)> change;
  Code code = Code::unimplemented;
};

TEST(tokenizer_file, whatever_is_not_understood_is_refused_by_name) {
  const auto model = [](json::object& file) -> json::object& { return file["model"].as_object(); };
  const json::value strip = {{"type", "Strip"}};
  const std::vector<Refusal> refusals = {
      {"tokenizer.extra", [](auto& f) { f["extra"] = 1; }},
      {"truncation", [](auto& f) { f["truncation"] = {{"max_length", 5}}; }},
      {"padding", [](auto& f) { f["padding"] = {{"strategy", "BatchLongest"}}; }},
      {"version", [](auto& f) { f["version"] = "2.0"; }},
      {"Strip", [&](auto& f) { f["normalizer"] = strip; }},
      {"Strip",
       [&](auto& f) {
         f["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array{strip}}};
       }},
      {"Metaspace", [](auto& f) { f["pre_tokenizer"] = {{"type", "Metaspace"}}; }},
      {"pre_tokenizer", [](auto& f) { f["pre_tokenizer"] = nullptr; }},
      {"pre_tokenizer.more", [](auto& f) { f["pre_tokenizer"].as_object()["more"] = 1; }},
      {"Bert", [](auto& f) { f["post_processor"] = {{"type", "BertProcessing"}}; }},
      {"decoder", [](auto& f) { f["decoder"] = {{"type", "WordPiece"}}; }},
      {"model.type", [&](auto& f) { model(f)["type"] = "Unigram"; }},
      {"model.dropout", [&](auto& f) { model(f)["dropout"] = 0.1; }},
      {"model.unk_token", [&](auto& f) { model(f)["unk_token"] = "<unk>"; }},
      {"model.continuing_subword_prefix",
       [&](auto& f) { model(f)["continuing_subword_prefix"] = "##"; }},
      {"model.end_of_word_suffix", [&](auto& f) { model(f)["end_of_word_suffix"] = "</w>"; }},
      {"model.byte_fallback", [&](auto& f) { model(f)["byte_fallback"] = true; }},
      {"model.new_option", [&](auto& f) { model(f)["new_option"] = true; }},
      {"model.vocab[\"he\"]", [&](auto& f) { model(f)["vocab"].as_object()["he"] = -3; },
       Code::invalid_argument},
      {"id of another entry", [&](auto& f) { model(f)["vocab"].as_object()["he"] = 5; },
       Code::invalid_argument},
      {"for byte 65", [&](auto& f) { model(f)["vocab"].as_object().erase("A"); },
       Code::invalid_argument},
      {"model.merges[0]", [&](auto& f) { model(f)["merges"].as_array()[0] = "h e l"; },
       Code::invalid_argument},
      {"model.merges[1]", [&](auto& f) { model(f)["merges"].as_array()[1] = "q q"; },
       Code::invalid_argument},
      {"added_tokens[0].id",
       [](auto& f) { f["added_tokens"].as_array()[0].as_object()["id"] = "x"; },
       Code::invalid_argument},
      {"added_tokens[2]", [](auto& f) { f["added_tokens"].as_array().push_back(added(5, "new")); },
       Code::invalid_argument},
      {"added_tokens[2].content",
       [](auto& f) { f["added_tokens"].as_array().push_back(added(400, "")); },
       Code::invalid_argument},
      {"merges produce",
       [&](auto& f) {
         f["added_tokens"].as_array().push_back(
             added(static_cast<int>(model(f)["vocab"].as_object()["he"].as_int64()), "he"));
       }},
  };
  for (const Refusal& refusal : refusals) {
    json::object file = small_file();
    refusal.change(file);
    const auto tokenizer = parsed(file);
    ASSERT_FALSE(tokenizer.ok()) << refusal.names;
    EXPECT_EQ(tokenizer.error().code, refusal.code) << tokenizer.error().text();
    EXPECT_NE(tokenizer.error().message.find(refusal.names), std::string::npos)
        << tokenizer.error().text();
    EXPECT_EQ(tokenizer.error().field, "dir/tokenizer.json");
  }
  EXPECT_TRUE(parsed(small_file()).ok());
}

TEST(tokenizer_file, stages_whose_order_changes_the_meaning_are_refused) {
  const json::object byte_level = small_file()["pre_tokenizer"].as_object();
  json::object prefixing = byte_level;
  prefixing["add_prefix_space"] = true;
  const json::object digits = {{"type", "Digits"}, {"individual_digits", true}};
  json::object merged = {{"type", "Split"},
                         {"pattern", {{"Regex", "a"}}},
                         {"behavior", "MergedWithNext"},
                         {"invert", false}};
  for (const json::array& stages :
       {json::array{byte_level, digits}, json::array{digits}, json::array{},
        json::array{digits, prefixing}, json::array{merged, byte_level}}) {
    json::object file = small_file();
    file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", stages}};
    const auto tokenizer = parsed(file);
    ASSERT_FALSE(tokenizer.ok()) << json::serialize(stages);
    EXPECT_NE(tokenizer.error().message.find("pre_tokenizer"), std::string::npos)
        << tokenizer.error().text();
  }
}

TEST(tokenizer_file, a_file_that_is_missing_or_no_json_is_refused) {
  EXPECT_EQ(Tokenizer::load("/nowhere/tokenizer.json").error().field, "/nowhere/tokenizer.json");
  EXPECT_FALSE(Tokenizer::parse("{", "x").ok());
  EXPECT_FALSE(Tokenizer::parse("[]", "x").ok());
  EXPECT_FALSE(Tokenizer::parse("", "x").ok());
}

TEST(tokenizer_file, merges_are_read_as_strings_and_as_pairs) {
  const auto strings = parsed(small_file());
  json::object file = small_file();
  json::array pairs;
  for (const json::value& merge : file["model"].as_object()["merges"].as_array()) {
    const std::string line = json::value_to<std::string>(merge);
    pairs.push_back(json::array{line.substr(0, line.find(' ')), line.substr(line.find(' ') + 1)});
  }
  file["model"].as_object()["merges"] = pairs;
  const auto lists = parsed(file);
  ASSERT_TRUE(strings.ok() && lists.ok());
  const auto ids = encoded(**strings, "hello world", Specials::parse);
  EXPECT_EQ(ids.size(), 5u);  // hell o Ġwor l d
  EXPECT_EQ(encoded(**lists, "hello world", Specials::parse), ids);
}

TEST(tokenizer_file, ignore_merges_takes_a_known_piece_whole) {
  json::object file = small_file();
  json::object& model = file["model"].as_object();
  model["vocab"].as_object()["xyz"] = 300;
  const auto with_merges = parsed(file);
  model["ignore_merges"] = true;
  const auto without = parsed(file);
  ASSERT_TRUE(with_merges.ok() && without.ok());
  EXPECT_EQ(encoded(**with_merges, "xyz", Specials::parse).size(), 3u);
  EXPECT_EQ(encoded(**without, "xyz", Specials::parse), std::vector<TokenId>{300});
}

TEST(tokenizer_file, a_prefix_space_goes_before_text_without_one) {
  json::object file = small_file();
  file["pre_tokenizer"].as_object()["add_prefix_space"] = true;
  const auto tokenizer = parsed(file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
  EXPECT_EQ(encoded(**tokenizer, "world", Specials::parse),
            encoded(**tokenizer, " world", Specials::parse));
}

TEST(added_tokens, strip_blanks_and_stand_alone_where_they_say_so) {
  const auto tokenizer = parsed(small_file());
  ASSERT_TRUE(tokenizer.ok());
  const TokenId strips = (*tokenizer)->find_added("<s>x").value();
  const TokenId single = (*tokenizer)->find_added("<think>").value();
  const auto ids = [&](std::string_view text) {
    return encoded(**tokenizer, text, Specials::parse);
  };
  const auto count = [&](std::string_view text, TokenId id) {
    const auto all = ids(text);
    return std::count(all.begin(), all.end(), id);
  };
  EXPECT_EQ(ids(" \u3000<s>x\n\t"), std::vector<TokenId>{strips});
  EXPECT_EQ(ids("<s>x  <s>x"), (std::vector<TokenId>{strips, strips}));
  EXPECT_EQ(count("a <think> b", single), 1);
  EXPECT_EQ(count("a<think> b", single), 0);
  EXPECT_EQ(count("a <think>é", single), 0);
  EXPECT_EQ(count("-<think>-", single), 1);
}

TEST(added_tokens, the_longest_at_a_position_wins_and_none_overlap) {
  json::object file = small_file();
  for (const auto& [id, content] : {std::pair(400, "<a>"), {401, "<a>b"}, {402, "b<c>"}})
    file["added_tokens"].as_array().push_back(added(id, content));
  const auto tokenizer = parsed(file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
  const auto ids = encoded(**tokenizer, "<a>b<c><a><a", Specials::parse);
  ASSERT_GE(ids.size(), 6u);
  EXPECT_EQ(ids[0], 401);
  EXPECT_EQ(ids[4], 400);  // after < c >
}

TEST(added_tokens, after_the_normalizer_finds_what_normalizing_makes) {
  json::object file = small_file();
  file["normalizer"] = {{"type", "NFC"}};
  json::object composed = added(400, "\u00e9!");
  composed["normalized"] = true;
  file["added_tokens"].as_array().push_back(composed);
  const auto tokenizer = parsed(file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
  EXPECT_EQ(encoded(**tokenizer, "e\u0301!", Specials::parse), std::vector<TokenId>{400});
  EXPECT_EQ(encoded(**tokenizer, "e\u0301", Specials::as_text),
            encoded(**tokenizer, "\u00e9", Specials::as_text));
}

}  // namespace
}  // namespace fathom::testing
