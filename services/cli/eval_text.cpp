#include "cli/eval_text.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "text/jinja/characters.h"

namespace fathom {
namespace {

bool is_start(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

// Control characters of ASCII, and those of Latin-1 that terminals obey as well (C2 80 to C2 9F).
void append_shown(std::string& out, std::string_view character) {
  const auto first = static_cast<unsigned char>(character.front());
  const bool latin =
      first == 0xC2 && character.size() == 2 && static_cast<unsigned char>(character[1]) < 0xA0;
  if (character == "\n") {
    out += "\\n";
  } else if (first < 0x20 || first == 0x7F || latin) {
    out += "?";
  } else {
    out += character;
  }
}

}  // namespace

std::string shortened(std::string_view text, size_t characters) {
  std::string out;
  size_t count = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && !is_start(text[end])) ++end;
    if (count++ == characters) return out + "...";
    append_shown(out, text.substr(at, end - at));
    at = end;
  }
  return out;
}

size_t first_difference(std::string_view a, std::string_view b) {
  size_t at = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at]) ++at;
  // Back to the beginning of a character whose first bytes agree.
  while (at > 0 && ((at < a.size() && !is_start(a[at])) || (at < b.size() && !is_start(b[at]))))
    --at;
  return jinja::character_count(a.substr(0, at));
}

std::string excerpt(std::string_view text, size_t character, size_t around) {
  const size_t from = character > around ? character - around : 0;
  const auto offsets = jinja::character_offsets(text);
  const size_t count = offsets.size() - 1;
  if (from >= count) return "(the end)";
  return (from > 0 ? "..." : "") + shortened(text.substr(offsets[from]), character - from + around);
}

std::string percent_text(double share) {
  double percent = std::round(share * 1000) / 10;
  if (percent >= 100 && share < 1) percent = 99.9;
  if (percent <= 0 && share > 0) percent = 0.1;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %%", percent);
  return text.data();
}

}  // namespace fathom
