// Where are the characters in these bytes? One decoder for the whole text library: it names, at any
// position, a whole character, a broken part, or a start that more bytes could complete. A broken
// part is as long as the Unicode standard's "maximal subpart", so every decoder of the family shows
// the same number of U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

struct Utf8Part {
  enum class Kind : uint8_t { character, broken, incomplete };
  Kind kind = Kind::character;
  size_t length = 1;
};

// The part that begins at text[at]; at < text.size(). `incomplete` only at the end of the text.
Utf8Part utf8_part(std::string_view text, size_t at);

bool is_valid_utf8(std::string_view text);

// Appends `text` with U+FFFD for every broken part and returns how many bytes were used: all of
// them when `last`, else all but an incomplete character at the end (at most 3 bytes).
size_t append_utf8(std::string_view text, bool last, std::string& out);

struct CodePoint {
  char32_t value = 0;
  uint32_t length = 1;
};

// The character at p of text that is known to be valid.
inline CodePoint code_point(const char* p) {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

void append_code_point(char32_t value, std::string& out);

}  // namespace fathom
