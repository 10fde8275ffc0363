// What text do property tests use? Random characters of many scripts, words and markers, the same
// in every run.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/utf8.h"

namespace fathom::testing {

class RandomText {
 public:
  explicit RandomText(uint32_t seed) : random_(seed) {}
  size_t below(size_t limit) { return random_() % limit; }

  // Up to `parts` words, or characters that Unicode knows since version 13 at the latest.
  std::string next(size_t parts) {
    static constexpr std::string_view kWords[] = {
        "'s",       "'ll",      "'RE",    "’s",         " the",    "Hello",
        "123",      "4567",     " ",      "   ",        "\n",      "\r\n",
        "\t",       "\n\n ",    "_",      "();",        "//",      " ==",
        "中文",     "かなカナ", "é",      "e\u0301",    "\u00a0",  "\u3000",
        "\u200d",   "\u180e",   "\u2028", "'ſ",         "ß",       "Ⅷ",
        "٣",        "½",        "😀",     "<｜User｜>", "<think>", "<｜begin▁of▁sentence｜>",
        "</think>", "<｜U",     "\u0001", "~ʹ"};
    std::string text;
    for (size_t count = below(parts + 1); count > 0; --count) {
      if (below(3) > 0)
        text += kWords[below(std::size(kWords))];
      else
        append_code_point(character(), text);
    }
    return text;
  }

 private:
  char32_t character() {
    // Blocks without gaps, so that every engine knows every character.
    static constexpr std::pair<char32_t, char32_t> kBlocks[] = {
        {0, 0x7F},        {0x80, 0x24F},    {0x300, 0x36F},     {0x400, 0x4FF},
        {0x621, 0x64A},   {0x4E00, 0x4FFF}, {0x3041, 0x3096},   {0x2010, 0x2027},
        {0x2190, 0x21FF}, {0xAC00, 0xAFFF}, {0x1D400, 0x1D454}, {0x1F600, 0x1F64F}};
    const auto& [first, last] = kBlocks[below(std::size(kBlocks))];
    return first + static_cast<char32_t>(below(last - first + 1));
  }
  std::mt19937 random_;
};

}  // namespace fathom::testing
