#include "text/jinja/characters.h"

#include <algorithm>

#include "text/unicode_classes.h"
#include "text/utf8.h"

namespace fathom::jinja {
namespace {

bool is_start(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

// Whether the character text[at, at + length) is stripped.
bool goes(std::string_view text, size_t at, size_t length, const std::string_view* set) {
  if (set == nullptr) return is_python_space(code_point(text.data() + at).value);
  const std::string_view character = text.substr(at, length);
  // A character is found whole, since UTF-8 synchronises itself.
  return set->find(character) != std::string_view::npos;
}

}  // namespace

size_t character_count(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, is_start));
}

std::vector<size_t> character_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  offsets.reserve(text.size() + 1);
  for (size_t at = 0; at < text.size(); ++at)
    if (is_start(text[at])) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

size_t character_offset(std::string_view text, int64_t index) {
  if (index < 0) {
    size_t at = text.size();
    for (; index < 0 && at > 0; ++index) {
      --at;
      while (at > 0 && !is_start(text[at])) --at;
    }
    return at;
  }
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) {
    ++at;
    while (at < text.size() && !is_start(text[at])) ++at;
  }
  return at;
}

bool is_python_space(char32_t c) {
  return (c >= 0x1C && c <= 0x1F) || (UnicodeClasses::get().flags(c) & kSpace) != 0;
}

size_t strip_begin(std::string_view text, const std::string_view* set) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = code_point(text.data() + at).length;
    if (!goes(text, at, length, set)) break;
    at += length;
  }
  return at;
}

size_t strip_end(std::string_view text, size_t begin, const std::string_view* set) {
  size_t end = text.size();
  while (end > begin) {
    size_t at = end - 1;
    while (!is_start(text[at])) --at;
    if (!goes(text, at, end - at, set)) break;
    end = at;
  }
  return end;
}

}  // namespace fathom::jinja
