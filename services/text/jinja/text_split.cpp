// How do Python's split methods cut text? split, rsplit, splitlines, partition and rpartition, with
// the marks of every part kept.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/characters.h"
#include "text/utf8.h"

namespace fathom::jinja {
namespace {

int64_t limit_of(const Value& value) {
  return value.is(Kind::integer) && value.integer() >= 0 ? value.integer() : INT64_MAX;
}

class Parts {
 public:
  Parts(Runtime& runtime, const Value& text) : runtime_(runtime), text_(text.text()) {}
  void add(size_t begin, size_t end) { parts_.emplace_back(text_.slice(begin, end)); }
  Value list() {
    runtime_.spend_bytes(text_.bytes.size() + parts_.size() * 64);
    return runtime_.make_list(std::move(parts_));
  }
  Value reversed_list() {
    std::ranges::reverse(parts_);
    return list();
  }
  Value tuple() { return runtime_.make_list(std::move(parts_), true); }

 private:
  Runtime& runtime_;
  const MarkedText& text_;
  std::vector<Value> parts_;
};

size_t space_at(std::string_view text, size_t at) {
  while (at < text.size() && !is_python_space(code_point(text.data() + at).value))
    at += code_point(text.data() + at).length;
  return at;
}

Value split_space(Runtime& runtime, const Value& subject, int64_t limit) {
  const std::string_view text = subject.bytes();
  Parts parts(runtime, subject);
  size_t at = strip_begin(text, nullptr);
  while (at < text.size()) {
    if (limit-- == 0) {
      parts.add(at, text.size());
      break;
    }
    const size_t end = space_at(text, at);
    parts.add(at, end);
    at = end + strip_begin(text.substr(end), nullptr);
  }
  return parts.list();
}

Value rsplit_space(Runtime& runtime, const Value& subject, int64_t limit) {
  const std::string_view text = subject.bytes();
  Parts parts(runtime, subject);
  size_t end = strip_end(text, 0, nullptr);
  while (end > 0) {
    if (limit-- == 0) {
      parts.add(0, end);
      break;
    }
    size_t begin = end;
    while (begin > 0) {
      size_t before = begin - 1;
      while ((static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
      if (is_python_space(code_point(text.data() + before).value)) break;
      begin = before;
    }
    parts.add(begin, end);
    end = strip_end(text.substr(0, begin), 0, nullptr);
  }
  return parts.reversed_list();
}

bool bad_separator(Runtime& runtime, const Value& separator) {
  if (separator.is(Kind::absent) || separator.is(Kind::none)) return false;
  if (!separator.is(Kind::text)) runtime.fail("a separator must be a string");
  if (separator.is(Kind::text) && separator.bytes().empty()) runtime.fail("empty separator");
  return runtime.failed();
}

Value split(Runtime& runtime, Arguments args) {
  if (bad_separator(runtime, args[1])) return {};
  int64_t limit = limit_of(args[2]);
  if (!args[1].is(Kind::text)) return split_space(runtime, args[0], limit);
  Parts parts(runtime, args[0]);
  const std::string_view text = args[0].bytes();
  size_t at = 0;
  for (size_t hit = 0;
       limit-- > 0 && (hit = text.find(args[1].bytes(), at)) != std::string::npos;) {
    parts.add(at, hit);
    at = hit + args[1].bytes().size();
  }
  parts.add(at, text.size());
  return parts.list();
}

Value rsplit(Runtime& runtime, Arguments args) {
  if (bad_separator(runtime, args[1])) return {};
  int64_t limit = limit_of(args[2]);
  if (!args[1].is(Kind::text)) return rsplit_space(runtime, args[0], limit);
  Parts parts(runtime, args[0]);
  const std::string_view text = args[0].bytes();
  const std::string_view separator = args[1].bytes();
  size_t end = text.size();
  for (size_t hit = 0;
       limit-- > 0 && end >= separator.size() &&
       (hit = text.rfind(separator, end - separator.size())) != std::string::npos;) {
    parts.add(hit + separator.size(), end);
    end = hit;
  }
  parts.add(0, end);
  return parts.reversed_list();
}

bool ends_line(char32_t c) {
  return c == '\n' || c == '\r' || c == 0x0B || c == 0x0C || (c >= 0x1C && c <= 0x1E) ||
         c == 0x85 || c == 0x2028 || c == 0x2029;
}

Value splitlines(Runtime& runtime, Arguments args) {
  Parts parts(runtime, args[0]);
  const bool keep = args[1].truth();
  const std::string_view text = args[0].bytes();
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text.data() + at);
    const size_t end = at + (text.substr(at).starts_with("\r\n") ? 2 : c.length);
    if (ends_line(c.value)) {
      parts.add(begin, keep ? end : at);
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) parts.add(begin, text.size());
  return parts.list();
}

template <bool Last>
Value partition(Runtime& runtime, Arguments args) {
  if (!args[1].is(Kind::text) || args[1].bytes().empty())
    return runtime.fail("a separator must be a string that is not empty");
  const std::string_view text = args[0].bytes();
  Parts parts(runtime, args[0]);
  const size_t hit = Last ? text.rfind(args[1].bytes()) : text.find(args[1].bytes());
  if (hit == std::string_view::npos) {
    const size_t at = Last ? 0 : text.size();
    if (Last) parts.add(0, 0);
    if (Last) parts.add(0, 0);
    parts.add(0, text.size());
    if (!Last) parts.add(at, at);
    if (!Last) parts.add(at, at);
    return parts.tuple();
  }
  const size_t end = hit + args[1].bytes().size();
  parts.add(0, hit);
  parts.add(hit, end);
  parts.add(end, text.size());
  return parts.tuple();
}

}  // namespace

namespace detail {

std::span<const Builtin> split_methods() {
  static constexpr Builtin kTable[] = {
      {"split", "sep,maxsplit", 0, split},       {"rsplit", "sep,maxsplit", 0, rsplit},
      {"splitlines", "keepends", 0, splitlines}, {"partition", "sep", 1, partition<false>},
      {"rpartition", "sep", 1, partition<true>},
  };
  return kTable;
}

}  // namespace detail
}  // namespace fathom::jinja
