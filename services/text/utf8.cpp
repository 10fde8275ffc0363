#include "text/utf8.h"

#include <cstring>

namespace fathom {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// How long the character of this lead byte is, and which second bytes it allows (Unicode, table
// 3-7).
struct Lead {
  size_t length;
  unsigned char second_min, second_max;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2 || byte > 0xF4) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // nothing above U+10FFFF
  return {4, 0x80, 0xBF};
}

// The end of the run of plain ASCII that starts at `at`, eight bytes at a step.
size_t ascii_end(std::string_view text, size_t at) {
  while (at + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080ULL) != 0) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

Utf8Part utf8_part(std::string_view text, size_t at) {
  using Kind = Utf8Part::Kind;
  const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  if (lead.length == 0) return {Kind::broken, 1};
  for (size_t i = 1; i < lead.length; ++i) {
    if (at + i >= text.size()) return {Kind::incomplete, i};
    const auto byte = static_cast<unsigned char>(text[at + i]);
    const unsigned char low = i == 1 ? lead.second_min : 0x80;
    const unsigned char high = i == 1 ? lead.second_max : 0xBF;
    if (byte < low || byte > high) return {Kind::broken, i};
  }
  return {Kind::character, lead.length};
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = ascii_end(text, 0); at < text.size(); at = ascii_end(text, at)) {
    const Utf8Part part = utf8_part(text, at);
    if (part.kind != Utf8Part::Kind::character) return false;
    at += part.length;
  }
  return true;
}

size_t append_utf8(std::string_view text, bool last, std::string& out) {
  size_t copied = 0;  // text before this is in out
  size_t at = ascii_end(text, 0);
  while (at < text.size()) {
    const Utf8Part part = utf8_part(text, at);
    if (part.kind != Utf8Part::Kind::character) {
      out += text.substr(copied, at - copied);
      if (part.kind == Utf8Part::Kind::incomplete && !last) return at;
      out += kReplacement;
      copied = at + part.length;
    }
    at = ascii_end(text, at + part.length);
  }
  out += text.substr(copied);
  return text.size();
}

void append_code_point(char32_t value, std::string& out) {
  const auto put = [&out](char32_t byte) { out += static_cast<char>(byte); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | value >> 18);
    put(0x80 | (value >> 12 & 0x3F));
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

}  // namespace fathom
