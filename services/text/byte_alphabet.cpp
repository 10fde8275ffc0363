#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace fathom {
namespace {

constexpr char32_t kFirstMoved = 0x100;
constexpr size_t kMoved = 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> of_byte{};
  std::array<int, kFirstMoved + kMoved> byte_of{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (int& byte : alphabet.byte_of) byte = -1;
  char32_t moved = kFirstMoved;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = stands_for_itself(byte) ? static_cast<char32_t>(byte) : moved++;
    alphabet.of_byte[static_cast<size_t>(byte)] = c;
    alphabet.byte_of[c] = byte;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_of_entry(std::string_view entry) {
  std::string bytes;
  bytes.reserve(entry.size());
  for (size_t at = 0; at < entry.size();) {
    const Utf8Part part = utf8_part(entry, at);
    if (part.kind != Utf8Part::Kind::character) return std::nullopt;
    const char32_t c = code_point(entry.data() + at).value;
    if (c >= kAlphabet.byte_of.size() || kAlphabet.byte_of[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte_of[c]);
    at += part.length;
  }
  return bytes;
}

std::string entry_of_byte(unsigned char byte) {
  std::string entry;
  append_code_point(kAlphabet.of_byte[byte], entry);
  return entry;
}

}  // namespace fathom
