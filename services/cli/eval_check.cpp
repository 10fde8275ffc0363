#include "cli/eval_check.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "text/jinja/characters.h"
#include "text/utf8.h"

namespace fathom {
namespace {

namespace json = boost::json;

constexpr size_t kDepthMax = 512;

std::string_view stripped(std::string_view text) {
  const size_t begin = jinja::strip_begin(text, nullptr);
  return text.substr(begin, jinja::strip_end(text, begin, nullptr) - begin);
}

std::string lower(std::string_view text) {
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode status = U_ZERO_ERROR;
  icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())),
                            sink, nullptr, status);
  CHECK(U_SUCCESS(status), "ICU can not map the case of valid UTF-8");
  return out;
}

// Without commas, and with every kind of decimal digit as 0 to 9, as Python's \d and float() have
// it.
std::string plain_digits(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto [value, length] = code_point(text.data() + at);
    const auto c = static_cast<UChar32>(value);
    if (u_charType(c) == U_DECIMAL_DIGIT_NUMBER)
      out += static_cast<char>('0' + u_charDigitValue(c));
    else if (c != ',')
      out += text.substr(at, length);
    at += length;
  }
  return out;
}

// The last match of -?\d+(\.\d+)?, matched from the left.
std::optional<double> last_number(std::string_view answer) {
  const std::string text = plain_digits(answer);
  const auto digit = [&](size_t at) {
    return at < text.size() && text[at] >= '0' && text[at] <= '9';
  };
  std::optional<std::string> found;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (text[at] == '-' && digit(at + 1)) ++at;
    if (!digit(at)) {
      ++at;
      continue;
    }
    while (digit(at)) ++at;
    if (at < text.size() && text[at] == '.' && digit(at + 1)) {
      ++at;
      while (digit(at)) ++at;
    }
    found = text.substr(begin, at - begin);
  }
  // strtod and not from_chars: beyond all bounds is infinite, as in Python.
  return found ? std::optional(std::strtod(found->c_str(), nullptr)) : std::nullopt;
}

// A number of JSON as Python compares it: true is 1, and a whole number equals a fraction only if
// that is whole too.
struct Number {
  bool whole = true;
  bool negative = false;
  uint64_t magnitude = 0;
  double fraction = 0;
};

std::optional<Number> number_of(const json::value& value) {
  if (value.is_bool()) return Number{.magnitude = value.get_bool() ? 1U : 0U};
  if (value.is_uint64()) return Number{.magnitude = value.get_uint64()};
  if (value.is_int64()) {
    const int64_t number = value.get_int64();
    return Number{.negative = number < 0,
                  .magnitude = number < 0 ? 0 - static_cast<uint64_t>(number)
                                          : static_cast<uint64_t>(number)};
  }
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  const double size = std::abs(number);
  if (size < 0x1p64 && std::trunc(size) == size)
    return Number{.negative = number < 0, .magnitude = static_cast<uint64_t>(size)};
  return Number{.whole = false, .fraction = number};
}

bool equal(const json::value& a, const json::value& b) {
  const auto x = number_of(a);
  const auto y = number_of(b);
  if (x || y)
    return x && y && x->whole == y->whole && x->negative == y->negative &&
           x->magnitude == y->magnitude && x->fraction == y->fraction;
  if (a.kind() != b.kind()) return false;
  if (a.is_array()) return std::ranges::equal(a.get_array(), b.get_array(), equal);
  if (!a.is_object()) return a == b;
  const json::object& other = b.get_object();
  return a.get_object().size() == other.size() &&
         std::ranges::all_of(a.get_object(), [&](const auto& member) {
           const auto* value = other.if_contains(member.key());
           return value != nullptr && equal(member.value(), *value);
         });
}

bool is_json(std::string_view text, const json::value& want) {
  boost::system::error_code code;
  const json::value value = json::parse(text, code, {}, {.max_depth = kDepthMax});
  return !code && equal(value, want);
}

}  // namespace

bool is_right(const EvalCheck& check, const EvalAnswer& answer) {
  if (check.kind == EvalCheckKind::call)
    return answer.calls.size() == 1 && answer.calls.front().name == check.text &&
           is_json(answer.calls.front().arguments, check.value);
  if (!answer.calls.empty()) return false;
  const std::string_view text = stripped(answer.content);
  switch (check.kind) {
    case EvalCheckKind::number:
      return last_number(text) == check.number;
    case EvalCheckKind::contains:
      return lower(text).find(lower(check.text)) != std::string::npos;
    case EvalCheckKind::json:
      return is_json(text, check.value);
    default:
      return text == check.text;
  }
}

}  // namespace fathom
