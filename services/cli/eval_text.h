// How is text from outside shown on one line of a terminal? Line ends and other control characters
// become visible, so that an answer can not move the cursor, and what is long is cut between two
// characters.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

// `text` on one line, at most `characters` long and then "...".
std::string shortened(std::string_view text, size_t characters);

// The first character (not byte) at which two texts part; the length of the shorter if one begins
// with the other.
size_t first_difference(std::string_view a, std::string_view b);

// What stands around a character, `around` of them on each side.
std::string excerpt(std::string_view text, size_t character, size_t around);

// "98.3 %", rounded so that only a full share reads 100.0.
std::string percent_text(double share);

}  // namespace fathom
