// How does a byte-level vocabulary write bytes? GPT-2's alphabet: printable Latin-1 stands for
// itself, the other 68 bytes are U+0100 onward in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fathom {

// The bytes a vocabulary entry stands for; nullopt if it has a character outside the alphabet.
std::optional<std::string> bytes_of_entry(std::string_view entry);
// The entry of one byte.
std::string entry_of_byte(unsigned char byte);

}  // namespace fathom
