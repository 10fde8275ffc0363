// Do all bytes survive the way to ids and back, and can none of them forge an added token? Over the
// small DeepSeek tokenizer; the hand-written splitters must also cut exactly as PCRE2 does.
#include <unicode/uchar.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace fathom;

const Tokenizer& tokenizer() {
  static const std::shared_ptr<const Tokenizer> loaded =
      Tokenizer::load(FATHOM_SOURCE_DIR "/tests/golden/data/tokenizer/mini-deepseek/tokenizer.json")
          .value();
  return *loaded;
}

// The two engines know different versions of Unicode: only characters both know can be compared.
bool old_characters(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text.data() + at);
    UVersionInfo age;
    u_charAge(static_cast<UChar32>(c.value), age);
    if (age[0] == 0 || age[0] > 13) return false;
    at += c.length;
  }
  return true;
}

void compare_splits(const std::string& text) {
  static const std::vector<std::string> patterns = {
      R"(\p{N}{1,3})",
      "[一-龥぀-ゟ゠-ヿ]+",
      std::string(kByteLevelPattern),
      "[!\"#$%&'()*+,\\-./"
      ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
      " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
      R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
      R"(\s*[\r\n]+|\s+(?!\S)|\s+)"};
  static const auto stages = [] {
    std::vector<std::pair<std::unique_ptr<SplitStage>, std::unique_ptr<SplitStage>>> pairs;
    for (const std::string& pattern : patterns) {
      pairs.emplace_back(known_split(pattern), regex_split({.pattern = pattern}).value());
      CHECK(pairs.back().first != nullptr, "a published pattern has no matcher");
    }
    return pairs;
  }();
  for (const auto& [known, regex] : stages) {
    std::vector<Piece> one, two;
    known->split(text, {0, text.size()}, one);
    regex->split(text, {0, text.size()}, two);
    CHECK(one == two, "the matcher and the pattern differ");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string repaired;
  append_utf8(text, true, repaired);
  for (const Specials specials : {Specials::as_text, Specials::parse}) {
    std::vector<TokenId> ids;
    tokenizer().encode(text, specials, ids);
    CHECK(tokenizer().decode(ids, false) == repaired, "the text does not survive");
    Detokenizer stream(tokenizer(), false);
    std::string streamed;
    for (const TokenId id : ids) {
      CHECK(specials == Specials::parse || !tokenizer().is_added(id), "text became an added token");
      stream.push(id, streamed);
    }
    stream.flush(streamed);
    CHECK(streamed == repaired, "the stream differs from the text");
  }
  if (size <= 4096 && old_characters(repaired)) compare_splits(repaired);
  return 0;
}
