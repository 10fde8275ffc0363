// How is text formatted? Python's `%` for the conversions that templates use (s r d i f e g x and
// %%, with flags, width and precision), and str.format without format specifications.
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>

#include "text/jinja/builtins.h"
#include "text/jinja/characters.h"
#include "text/jinja/operators.h"
#include "text/jinja/write.h"

namespace fathom::jinja {
namespace {

struct Conversion {
  std::string key, flags;
  int width = 0, precision = -1;
  char kind = 's';
};

// A number of at most three digits; larger ones would only make padding.
int short_number(std::string_view format, size_t& at) {
  int number = 0;
  for (int digits = 0; at < format.size() && std::isdigit(format[at]) != 0 && digits < 3; ++digits)
    number = number * 10 + (format[at++] - '0');
  return number;
}

// The conversion behind a '%'; at is moved behind it.
bool parse(std::string_view format, size_t& at, Conversion& out) {
  if (at < format.size() && format[at] == '(') {
    const size_t close = format.find(')', at);
    if (close == std::string_view::npos) return false;
    out.key = std::string(format.substr(at + 1, close - at - 1));
    at = close + 1;
  }
  while (at < format.size() && std::string_view("-+ 0#").find(format[at]) != std::string_view::npos)
    out.flags += format[at++];
  out.width = short_number(format, at);
  if (at < format.size() && format[at] == '.') out.precision = short_number(format, ++at);
  if (at >= format.size()) return false;
  out.kind = format[at++];
  return true;
}

MarkedText padded(const Conversion& c, MarkedText text) {
  const size_t length = character_count(text.bytes);
  if (length >= static_cast<size_t>(c.width)) return text;
  const std::string fill(static_cast<size_t>(c.width) - length, ' ');
  if (c.flags.find('-') != std::string::npos) return std::move(text.append(fill));
  MarkedText out{.bytes = fill};
  return std::move(out.append(text));
}

std::string number_text(const Conversion& c, const Value& value) {
  const std::string head = "%" + c.flags + (c.width > 0 ? std::to_string(c.width) : "") +
                           (c.precision >= 0 ? "." + std::to_string(c.precision) : "");
  std::array<char, 2048> text{};
  const bool real = std::string_view("feEgGF").find(c.kind) != std::string_view::npos;
  const int64_t whole = value.is(Kind::real) ? static_cast<int64_t>(value.real()) : value.integer();
  int size = 0;
  if (real)
    size = std::snprintf(text.data(), text.size(), (head + c.kind).c_str(), value.real());
  else
    size = std::snprintf(text.data(), text.size(),
                         (head + "ll" + (c.kind == 'i' || c.kind == 'u' ? 'd' : c.kind)).c_str(),
                         static_cast<long long>(whole));
  return {text.data(), static_cast<size_t>(size)};
}

bool convert(Runtime& runtime, const Conversion& c, const Value& value, MarkedText& out) {
  if (c.kind == 's') {
    MarkedText text;
    write_str(runtime, value, text);
    if (c.precision >= 0) text = text.slice(0, character_offset(text.bytes, c.precision));
    out.append(padded(c, std::move(text)));
    return true;
  }
  if (c.kind == 'r') {
    MarkedText text;
    write_repr(runtime, value, text);
    out.append(padded(c, std::move(text)));
    return true;
  }
  if (std::string_view("diufeEgGFxXo").find(c.kind) == std::string_view::npos) {
    runtime.fail(std::string("unsupported format character '") + c.kind + "'");
    return false;
  }
  const bool whole_only = std::string_view("xXo").find(c.kind) != std::string_view::npos;
  const bool huge = value.is(Kind::real) && !(std::abs(value.real()) < 9e15);
  if (!value.is_number() || (whole_only && value.is(Kind::real)) ||
      (huge && std::string_view("diu").find(c.kind) != std::string_view::npos)) {
    runtime.fail(std::string("%") + c.kind + " format: a number is required, not " +
                 std::string(type_name(value)));
    return false;
  }
  out.append(number_text(c, value));
  return true;
}

}  // namespace

Value formatted(Runtime& runtime, const MarkedText& format, const Value& values) {
  const bool tuple = values.is(Kind::list) && values.list().tuple;
  const Arguments all = tuple ? Arguments(values.list().items) : Arguments(&values, 1);
  size_t used = 0;
  bool named = false;
  MarkedText out;
  size_t at = 0;
  while (at < format.bytes.size() && !runtime.failed()) {
    const size_t percent = std::min(format.bytes.find('%', at), format.bytes.size());
    out.append(format, at, percent);
    if (percent == format.bytes.size()) break;
    at = percent + 1;
    Conversion c;
    if (!parse(format.bytes, at, c)) return runtime.fail("incomplete format");
    if (c.kind == '%') {
      out.append("%");
      continue;
    }
    if (!c.key.empty()) {
      const Value* value = values.is(Kind::dict) ? values.dict().find(c.key) : nullptr;
      if (value == nullptr) return runtime.fail("no value for a named format");
      named = true;
      convert(runtime, c, *value, out);
      continue;
    }
    if (used >= all.size()) return runtime.fail("not enough arguments for format string");
    convert(runtime, c, all[used++], out);
  }
  const bool any_left = used < all.size() && !(named || values.is(Kind::dict));
  if (any_left) return runtime.fail("not all arguments converted during string formatting");
  return runtime.make_text(std::move(out));
}

Value brace_formatted(Runtime& runtime, const MarkedText& format, Arguments positional,
                      const Dict& named) {
  MarkedText out;
  size_t next = 0;
  const std::string& text = format.bytes;
  for (size_t at = 0; at < text.size() && !runtime.failed();) {
    const size_t brace = std::min(text.find_first_of("{}", at), text.size());
    out.append(format, at, brace);
    if (brace == text.size()) break;
    if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {
      out.append(format, brace, brace + 1);
      at = brace + 2;
      continue;
    }
    const size_t close = text.find('}', brace);
    if (text[brace] == '}' || close == std::string::npos)
      return runtime.fail("single brace in a format string");
    const std::string field = text.substr(brace + 1, close - brace - 1);
    at = close + 1;
    if (field.find_first_of(":!.[{") != std::string::npos)
      return runtime.fail("the format field '{" + field + "}' is not supported");
    const bool digits = field.find_first_not_of("0123456789") == std::string::npos;
    const Value* value = nullptr;
    if (digits) {
      size_t index = next++;
      if (!field.empty()) std::from_chars(field.data(), field.data() + field.size(), index);
      if (index < positional.size()) value = &positional[index];
    } else {
      value = named.find(field);
    }
    if (value == nullptr) return runtime.fail("no value for the format field '{" + field + "}'");
    write_str(runtime, *value, out);
  }
  return runtime.make_text(std::move(out));
}

}  // namespace fathom::jinja
