// What kind of character is this? One byte of flags per code point, built once from ICU, so the
// hand-written splitters ask a table instead of a regex engine. Block 0 holds ASCII, so plain text
// touches two cache lines.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fathom {

enum CharFlag : uint8_t {
  kLetter = 1,   // \p{L}
  kMark = 2,     // \p{M}
  kNumber = 4,   // \p{N}
  kPunct = 8,    // \p{P}
  kSymbol = 16,  // \p{S}
  kSpace = 32,   // \s: White_Space, which excludes U+180E and U+200B
  kWord = 64,    // \w: Alphabetic, marks, decimal digits, connectors, joiners
  kDigit = 128,  // \p{Nd}
};

class UnicodeClasses {
 public:
  // The table of this process; immutable.
  static const UnicodeClasses& get();
  uint8_t flags(char32_t c) const { return blocks_[index_[c >> kShift]][c & (kBlock - 1)]; }

 private:
  static constexpr int kShift = 7;
  static constexpr size_t kBlock = size_t{1} << kShift;
  UnicodeClasses();
  std::array<uint16_t, (0x110000 >> kShift)> index_{};
  std::vector<std::array<uint8_t, kBlock>> blocks_;
};

}  // namespace fathom
