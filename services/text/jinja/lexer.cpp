#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "text/utf8.h"

namespace fathom::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\v\f\r";

bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string with_plain_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size() && error_.empty()) between_tags();
    if (!error_.empty()) return invalid(error_, line_name(line_));
    emit(Token::Kind::end, {});
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view text) const { return rest().starts_with(text); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
  }
  void advance(size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + count),
                                         '\n'));
    at_ += count;
  }
  void skip_space() {
    while (at_ < source_.size() && is_space(source_[at_])) advance(1);
  }
  void emit(Token::Kind kind, std::string text) {
    tokens_.push_back({.kind = kind, .text = std::move(text), .line = line_});
  }
  // What follows a block or comment: `-` takes all white space, else one newline goes.
  void after_block(char sign) {
    if (sign == '-')
      skip_space();
    else if (sign != '+' && peek() == '\n')
      advance(1);
  }

  // `text` stands before a tag that begins with `sign`; lstrip_blocks is for blocks and comments.
  std::string stripped(std::string_view text, size_t begin, char sign, bool block) const {
    if (sign == '-') {
      const size_t last = text.find_last_not_of(kSpaces);
      return std::string(text.substr(0, last == std::string_view::npos ? 0 : last + 1));
    }
    if (sign == '+' || !block) return std::string(text);
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    const bool at_line_start = line > 0 || begin == 0 || source_[begin - 1] == '\n';
    if (!at_line_start || text.find_first_not_of(kSpaces, line) != std::string_view::npos)
      return std::string(text);
    return std::string(text.substr(0, line));
  }

  void between_tags() {
    size_t tag = at_;
    while ((tag = source_.find('{', tag)) != std::string::npos) {
      const char next = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    const size_t end = std::min(tag, source_.size());
    const char kind = end < source_.size() ? source_[end + 1] : '\0';
    const char first = end + 2 < source_.size() ? source_[end + 2] : '\0';
    const char sign = first == '-' || first == '+' ? first : '\0';
    std::string text(rest().substr(0, end - at_));
    if (kind != '\0') text = stripped(text, at_, sign, kind != '{');
    if (!text.empty()) emit(Token::Kind::data, std::move(text));
    advance(end - at_);
    if (kind == '\0') return;
    advance(sign == '\0' ? 2 : 3);
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    emit(kind == '{' ? Token::Kind::output_begin : Token::Kind::block_begin, {});
    tag_body(kind == '{' ? "}}" : "%}");
  }

  void comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) return fail("a comment is not closed");
    const char before = close > at_ ? source_[close - 1] : '\0';
    advance(close + 2 - at_);
    after_block(before);
  }

  // Behind "{%": the whole raw block, if it is one.
  bool raw() {
    size_t at = source_.find_first_not_of(kSpaces, at_);
    if (at == std::string::npos || source_.compare(at, 3, "raw") != 0) return false;
    at = source_.find_first_not_of(kSpaces, at + 3);
    if (at == std::string::npos) return false;
    const bool dash = source_[at] == '-';
    if (source_.compare(at + (dash ? 1 : 0), 2, "%}") != 0) return false;
    advance(at + (dash ? 3 : 2) - at_);
    if (dash) skip_space();
    raw_body();
    return true;
  }

  void raw_body() {
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos; ++tag) {
      size_t at = tag + 2;
      const char sign =
          at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
      if (sign != '\0') ++at;
      at = source_.find_first_not_of(kSpaces, at);
      if (at == std::string::npos || source_.compare(at, 6, "endraw") != 0) continue;
      at = source_.find_first_not_of(kSpaces, at + 6);
      if (at == std::string::npos) break;
      const char close = source_[at] == '-' || source_[at] == '+' ? source_[at] : '\0';
      if (close != '\0') ++at;
      if (source_.compare(at, 2, "%}") != 0) continue;
      std::string text = stripped(rest().substr(0, tag - at_), at_, sign, true);
      if (!text.empty()) emit(Token::Kind::data, std::move(text));
      advance(at + 2 - at_);
      return after_block(close);
    }
    fail("a raw block is not closed");
  }

  void tag_body(std::string_view close) {
    std::string open;  // brackets that are not closed yet
    while (error_.empty()) {
      skip_space();
      if (at_ >= source_.size()) return fail("a tag is not closed");
      if (open.empty() && end_of_tag(close)) return;
      const char c = peek();
      if (is_digit(c))
        number();
      else if (is_word(c))
        name();
      else if (c == '\'' || c == '"')
        text(c);
      else
        symbol(open);
    }
  }

  bool end_of_tag(std::string_view close) {
    const char c = peek();
    const bool block = close == "%}";
    const bool signed_end =
        (c == '-' || (c == '+' && block)) && rest().substr(1).starts_with(close);
    if (!signed_end && !sees(close)) return false;
    emit(block ? Token::Kind::block_end : Token::Kind::output_end, {});
    advance(signed_end ? 3 : 2);
    if (block)
      after_block(signed_end ? c : '\0');
    else if (signed_end)
      skip_space();
    return true;
  }

  void name() {
    size_t length = 0;
    while (is_word(peek(length))) ++length;
    emit(Token::Kind::name, std::string(rest().substr(0, length)));
    advance(length);
  }

  void number() {
    size_t length = 0;
    bool real = false;
    const auto digits = [&] {
      while (is_digit(peek(length)) || (peek(length) == '_' && is_digit(peek(length + 1))))
        ++length;
    };
    digits();
    if (is_word(peek(length)) && peek(length) != 'e' && peek(length) != 'E')
      return fail("a number is not decimal");
    if (peek(length) == '.' && is_digit(peek(length + 1))) {
      real = true;
      ++length;
      digits();
    }
    const size_t sign = peek(length + 1) == '+' || peek(length + 1) == '-' ? 1 : 0;
    if ((peek(length) == 'e' || peek(length) == 'E') && is_digit(peek(length + 1 + sign))) {
      real = true;
      length += 1 + sign;
      digits();
    }
    std::string text(rest().substr(0, length));
    std::erase(text, '_');
    emit(real ? Token::Kind::real : Token::Kind::integer, std::move(text));
    advance(length);
  }

  void symbol(std::string& open) {
    static constexpr std::array<std::string_view, 6> kLong = {"//", "**", "==", "!=", ">=", "<="};
    for (const std::string_view s : kLong)
      if (sees(s)) {
        emit(Token::Kind::symbol, std::string(s));
        return advance(2);
      }
    const char c = peek();
    if (std::string_view("+-*/%~<>=.:|,;()[]{}").find(c) == std::string_view::npos)
      return fail(std::string("unexpected character '") + c + "'");
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) return fail(std::string("unexpected '") + c + "'");
      open.pop_back();
    }
    emit(Token::Kind::symbol, std::string(1, c));
    advance(1);
  }

  void text(char quote) {
    size_t length = 1;
    while (peek(length) != quote) {
      if (at_ + length >= source_.size()) return fail("a string is not closed");
      length += peek(length) == '\\' ? 2 : 1;
    }
    std::string value;
    for (size_t i = 1; i < length && error_.empty();) {
      if (peek(i) != '\\') {
        value += peek(i++);
      } else {
        i = escape(i + 1, value);
      }
    }
    if (!is_valid_utf8(value)) return fail("a string is not valid UTF-8");
    emit(Token::Kind::text, std::move(value));
    advance(length + 1);
  }

  // Python's escapes; `i` is behind the backslash. An unknown escape stays as it is written.
  size_t escape(size_t i, std::string& value) {
    static constexpr std::string_view kNames = "abfnrtv\\'\"";
    static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const char c = peek(i);
    if (c == '\n') return i + 1;
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      value += kMeanings[known];
      return i + 1;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) return coded(i + 1, digits, 16, value);
    if (c >= '0' && c <= '7') {
      size_t count = 1;
      while (count < 3 && peek(i + count) >= '0' && peek(i + count) <= '7') ++count;
      return coded(i, count, 8, value);
    }
    if (c == 'N') fail("\\N in a string is not supported");
    value += '\\';
    return i;
  }

  size_t coded(size_t i, size_t digits, uint32_t base, std::string& value) {
    static constexpr std::string_view kHex = "0123456789abcdef";
    uint64_t code = 0;
    for (size_t k = 0; k < digits; ++k) {
      const char c = peek(i + k);
      const size_t digit = kHex.find(c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c);
      if (digit >= base) {
        fail("a string has a malformed escape");
        return i;
      }
      code = code * base + digit;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      fail("a string has an escape that is no character");
    else
      append_code_point(static_cast<char32_t>(code), value);
    return i + digits;
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::string error_;
  std::vector<Token> tokens_;
};

}  // namespace

std::string line_name(int line) { return "line " + std::to_string(line); }

Result<std::vector<Token>> lex(std::string_view source) {
  if (!is_valid_utf8(source)) return invalid("not valid UTF-8", line_name(1));
  return Lexer(source).run();
}

}  // namespace fathom::jinja
