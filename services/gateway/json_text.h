// How is JSON written where speed counts? By appending: strings are escaped run by run, numbers go
// through to_chars. The caller writes the punctuation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace fathom {

// The characters of a JSON string, without the quotes. `text` is valid UTF-8.
void append_escaped(std::string& out, std::string_view text);
// With the quotes.
void append_json(std::string& out, std::string_view text);
void append_json(std::string& out, int64_t number);
// A log-probability: -9999.0 stands for minus infinity, which JSON can not say.
void append_logprob(std::string& out, float logprob);
void append_json(std::string& out, std::span<const TokenId> ids);  // [1,2,3]

bool is_utf8(std::string_view bytes);
int64_t count_code_points(std::string_view utf8);
std::string json_quoted(std::string_view text);

}  // namespace fathom
