// Are all published encodings and decodings reproduced exactly? Every line of the golden files, for
// every tokenizer, with streams and with special tokens skipped.
#include <boost/json.hpp>

#include "tests/unit/text/golden.h"

namespace fathom::testing {
namespace {

namespace json = boost::json;

std::string text_at(const json::object& line, std::string_view key) {
  return json::value_to<std::string>(line.at({key.data(), key.size()}));
}

std::vector<TokenId> ids_at(const json::object& line) {
  return json::value_to<std::vector<TokenId>>(line.at("ids"));
}

std::vector<std::string> stream_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                                   std::string& flushed) {
  Detokenizer detokenizer(tokenizer, false);
  std::vector<std::string> chunks;
  for (const TokenId id : ids) detokenizer.push(id, chunks.emplace_back());
  flushed.clear();
  detokenizer.flush(flushed);
  return chunks;
}

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    tokenizer_ = golden_tokenizer(GetParam());
    if (!tokenizer_) GTEST_SKIP() << "the files of " << GetParam() << " are not on this machine";
  }
  std::vector<json::object> lines(const std::string& file) const {
    std::vector<json::object> objects;
    for (const std::string& line :
         read_lines(golden_path("golden/" + std::string(GetParam()) + "/" + file)))
      objects.push_back(json::parse(line).as_object());
    return objects;
  }
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_P(Golden, every_encoding_is_exact) {
  const auto all = lines("encode.jsonl");
  ASSERT_GE(all.size(), 300u);
  for (const json::object& line : all) {
    const std::string text = text_at(line, "text");
    EXPECT_EQ(encoded(*tokenizer_, text, Specials::parse), ids_at(line)) << text;
  }
}

TEST_P(Golden, every_encoding_decodes_and_streams_exactly) {
  for (const json::object& line : lines("encode.jsonl")) {
    const std::vector<TokenId> ids = ids_at(line);
    EXPECT_EQ(tokenizer_->decode(ids, false), text_at(line, "decoded"));
    EXPECT_EQ(tokenizer_->decode(ids, true), text_at(line, "decoded_skip_special"));
    std::string flushed;
    EXPECT_EQ(stream_of(*tokenizer_, ids, flushed),
              json::value_to<std::vector<std::string>>(line.at("stream")));
    EXPECT_EQ(flushed, "");
  }
}

TEST_P(Golden, random_ids_decode_and_stream_exactly) {
  const auto all = lines("decode.jsonl");
  ASSERT_GE(all.size(), 80u);
  for (const json::object& line : all) {
    const std::vector<TokenId> ids = ids_at(line);
    EXPECT_EQ(tokenizer_->decode(ids, false), text_at(line, "text"));
    std::string flushed;
    EXPECT_EQ(stream_of(*tokenizer_, ids, flushed),
              json::value_to<std::vector<std::string>>(line.at("stream")));
    EXPECT_EQ(flushed, text_at(line, "stream_flush"));
    std::string hex;
    for (const TokenId id : ids)
      for (const char c : tokenizer_->bytes(id)) {
        const auto byte = static_cast<unsigned char>(c);
        hex += "0123456789abcdef"[byte >> 4];
        hex += "0123456789abcdef"[byte & 15];
      }
    EXPECT_EQ(hex, text_at(line, "bytes_hex"));
  }
}

INSTANTIATE_TEST_SUITE_P(tokenizers, Golden,
                         ::testing::Values("deepseek-r1", "deepseek-v3", "mini-deepseek", "qwen2.5",
                                           "llama3.1"),
                         test_name);

}  // namespace
}  // namespace fathom::testing
