// Where are the characters of a text? Python counts characters, we keep UTF-8: these find the byte
// of a character and the bounds of white space and letters. All take valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::jinja {

size_t character_count(std::string_view text);
// Offsets of all characters and of the end.
std::vector<size_t> character_offsets(std::string_view text);
// The byte of character `index`, counted from the end if negative, held to the text's bounds.
size_t character_offset(std::string_view text, int64_t index);
bool is_python_space(char32_t c);
// The first byte that is not of `set`, and the end of the last; white space if `set` is null.
size_t strip_begin(std::string_view text, const std::string_view* set);
size_t strip_end(std::string_view text, size_t begin, const std::string_view* set);

}  // namespace fathom::jinja
