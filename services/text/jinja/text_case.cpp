// How do Python's upper, lower, title and capitalize change letters? Unicode's full case mappings,
// from ICU in its root locale; ASCII needs none of it.
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/uchar.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/write.h"
#include "text/utf8.h"

namespace fathom::jinja {
namespace {

enum class Case : uint8_t { upper, lower, title };

std::string mapped(std::string_view text, Case to) {
  const auto ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  std::string out;
  if (to != Case::title && std::ranges::all_of(text, ascii)) {
    out = text;
    for (char& c : out) {
      if (to == Case::upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
      if (to == Case::lower && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    return out;
  }
  const icu::StringPiece source(text.data(), static_cast<int32_t>(text.size()));
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode status = U_ZERO_ERROR;
  if (to == Case::upper)
    icu::CaseMap::utf8ToUpper("", 0, source, sink, nullptr, status);
  else if (to == Case::lower)
    icu::CaseMap::utf8ToLower("", 0, source, sink, nullptr, status);
  else
    icu::CaseMap::utf8ToTitle("", U_TITLECASE_WHOLE_STRING | U_TITLECASE_NO_BREAK_ADJUSTMENT,
                              nullptr, source, sink, nullptr, status);
  CHECK(U_SUCCESS(status), "ICU can not map the case of valid UTF-8");
  return out;
}

// The first letter of every run of letters in title case, the others in lower case.
std::string titled(std::string_view text) {
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text.data() + at);
    out += mapped(text.substr(at, c.length), inside ? Case::lower : Case::title);
    inside = u_hasBinaryProperty(static_cast<UChar32>(c.value), UCHAR_CASED) != 0;
    at += c.length;
  }
  return out;
}

// Jinja's filter: words begin after white space, '-' and opening brackets only.
std::string words_titled(std::string_view text) {
  std::string out;
  bool begins = true;
  size_t from = 0;
  const auto flush = [&](size_t to) {
    out += mapped(text.substr(from, to - from), Case::lower);
    from = to;
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text.data() + at);
    const bool divides =
        c.value < 0x80 && std::string_view("-({[< \t\n\v\f\r").find(static_cast<char>(c.value)) !=
                              std::string_view::npos;
    if (begins && !divides) {
      flush(at);
      out += mapped(text.substr(at, c.length), Case::upper);
      from = at + c.length;
    }
    begins = divides;
    at += c.length;
  }
  flush(text.size());
  return out;
}

template <std::string (*Change)(std::string_view)>
Value changed(Runtime& runtime, Arguments args) {
  MarkedText text;
  write_str(runtime, args[0], text);
  return runtime.make_text(text.remade(Change(text.bytes)));
}

std::string upper(std::string_view text) { return mapped(text, Case::upper); }
std::string lower(std::string_view text) { return mapped(text, Case::lower); }
std::string capitalized(std::string_view text) { return mapped(text, Case::title); }

}  // namespace

namespace detail {

std::span<const Builtin> case_filters() {
  static constexpr Builtin kTable[] = {
      {"upper", "", 0, changed<upper>},
      {"lower", "", 0, changed<lower>},
      {"capitalize", "", 0, changed<capitalized>},
      {"title", "", 0, changed<words_titled>},
  };
  return kTable;
}

std::span<const Builtin> case_methods() {
  static constexpr Builtin kTable[] = {
      {"upper", "", 0, changed<upper>},
      {"lower", "", 0, changed<lower>},
      {"capitalize", "", 0, changed<capitalized>},
      {"title", "", 0, changed<titled>},
  };
  return kTable;
}

}  // namespace detail
}  // namespace fathom::jinja
