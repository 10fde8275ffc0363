// Which tokens does a template consist of? Jinja's lexer with the settings that Hugging Face uses
// (trim_blocks, lstrip_blocks, one final newline dropped): text between tags with the white space
// already stripped as the `-`, `+` and settings say, and the parts of each tag. Errors name the
// line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom::jinja {

struct Token {
  enum class Kind : uint8_t {
    data,  // text as it is
    block_begin,
    block_end,
    output_begin,
    output_end,
    name,
    text,  // a string literal, its escapes resolved
    integer,
    real,
    symbol,
    end,
  };
  Kind kind = Kind::end;
  std::string text;
  int line = 1;

  bool is_symbol(std::string_view s) const { return kind == Kind::symbol && text == s; }
  bool is_name(std::string_view s) const { return kind == Kind::name && text == s; }
};

// The error's field names the line; the last token is `end`.
Result<std::vector<Token>> lex(std::string_view source);

// "line 7", as errors of lexer and parser name it.
std::string line_name(int line);

}  // namespace fathom::jinja
