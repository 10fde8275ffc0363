// What can a template ask of text? The methods of Python's str that neither split nor change case.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/characters.h"
#include "text/jinja/operators.h"
#include "text/jinja/write.h"
#include "text/unicode_classes.h"
#include "text/utf8.h"

namespace fathom::jinja {
namespace {

template <bool Begin, bool End>
Value strip(Runtime& runtime, Arguments args) {
  const std::string_view text = args[0].bytes();
  std::string_view set;
  const bool given = args[1].is(Kind::text);
  if (given) set = args[1].bytes();
  if (!given && !args[1].is(Kind::absent) && !args[1].is(Kind::none))
    return runtime.fail("strip arg must be None or str");
  const size_t begin = Begin ? strip_begin(text, given ? &set : nullptr) : 0;
  const size_t end = End ? strip_end(text, begin, given ? &set : nullptr) : text.size();
  return runtime.make_text(args[0].text().slice(begin, end));
}

// Of one text or of any in a tuple.
template <bool Start>
Value affix(Runtime& runtime, Arguments args) {
  const auto fits = [&](const Value& part) {
    if (!part.is(Kind::text)) {
      runtime.fail("startswith and endswith need a string or a tuple of strings");
      return false;
    }
    return Start ? args[0].bytes().starts_with(part.bytes())
                 : args[0].bytes().ends_with(part.bytes());
  };
  if (args[1].is(Kind::list) && args[1].list().tuple)
    return std::ranges::any_of(args[1].list().items, fits);
  return fits(args[1]);
}

bool texts(Runtime& runtime, Arguments args) {
  for (const Value& value : args)
    if (!value.is(Kind::text)) {
      runtime.fail("expected a string, not " + std::string(type_name(value)));
      return false;
    }
  return true;
}

Value replace(Runtime& runtime, Arguments args) {
  if (!texts(runtime, args.subspan(1, 2))) return {};
  const MarkedText& text = args[0].text();
  const std::string_view old = args[1].bytes();
  int64_t left =
      args[3].is(Kind::integer) && args[3].integer() >= 0 ? args[3].integer() : INT64_MAX;
  MarkedText out;
  size_t at = 0;
  if (old.empty()) {
    // Between all characters, before the first and behind the last.
    for (const size_t next : character_offsets(text.bytes)) {
      out.append(text, at, next);
      at = next;
      if (left-- <= 0) break;
      if (!runtime.spend_bytes(args[2].bytes().size())) return {};
      out.append(args[2].text());
    }
  } else {
    for (size_t hit = 0; left-- > 0 && (hit = text.bytes.find(old, at)) != std::string::npos;) {
      if (!runtime.spend_bytes(args[2].bytes().size())) return {};
      out.append(text, at, hit).append(args[2].text());
      at = hit + old.size();
    }
  }
  out.append(text, at, text.bytes.size());
  return runtime.make_text(std::move(out));
}

template <bool Last, bool MustFind>
Value find(Runtime& runtime, Arguments args) {
  if (!texts(runtime, args.subspan(1, 1))) return {};
  const std::string_view text = args[0].bytes();
  const auto length = static_cast<int64_t>(character_count(text));
  const auto bound = [&](const Value& value, int64_t otherwise) {
    const int64_t index = value.is(Kind::integer) ? value.integer() : otherwise;
    return character_offset(text, index < -length ? 0 : index);
  };
  const size_t begin = bound(args[2], 0);
  const size_t end = bound(args[3], length);
  size_t hit = std::string_view::npos;
  if (begin <= end) {
    const std::string_view part = text.substr(begin, end - begin);
    hit = Last ? part.rfind(args[1].bytes()) : part.find(args[1].bytes());
  }
  if (hit == std::string_view::npos)
    return MustFind ? runtime.fail("substring not found") : Value(int64_t{-1});
  return static_cast<int64_t>(character_count(text.substr(0, begin + hit)));
}

Value count(Runtime& runtime, Arguments args) {
  if (!texts(runtime, args.subspan(1, 1))) return {};
  if (args[1].bytes().empty()) return static_cast<int64_t>(character_count(args[0].bytes()) + 1);
  int64_t found = 0;
  for (size_t at = 0; (at = args[0].bytes().find(args[1].bytes(), at)) != std::string_view::npos;
       at += args[1].bytes().size())
    ++found;
  return found;
}

Value join(Runtime& runtime, Arguments args) {
  const ListPtr items = items_of(runtime, args[1]);
  if (!texts(runtime, items->items)) return {};
  MarkedText out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    if (i > 0 && !runtime.spend_bytes(args[0].bytes().size())) return {};
    if (i > 0) out.append(args[0].text());
    out.append(items->items[i].text());
  }
  return runtime.make_text(std::move(out));
}

template <bool Front>
Value remove(Runtime& runtime, Arguments args) {
  if (!texts(runtime, args.subspan(1, 1))) return {};
  const std::string_view text = args[0].bytes();
  const std::string_view part = args[1].bytes();
  const bool there = Front ? text.starts_with(part) : text.ends_with(part);
  if (!there) return args[0];
  return runtime.make_text(Front ? args[0].text().slice(part.size(), text.size())
                                 : args[0].text().slice(0, text.size() - part.size()));
}

template <uint8_t Flags>
Value all_of(Runtime&, Arguments args) {
  const std::string_view text = args[0].bytes();
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text.data() + at);
    if ((UnicodeClasses::get().flags(c.value) & Flags) == 0) return false;
    at += c.length;
  }
  return !text.empty();
}

Value is_space(Runtime&, Arguments args) {
  return !args[0].bytes().empty() &&
         strip_begin(args[0].bytes(), nullptr) == args[0].bytes().size();
}

Value format(Runtime& runtime, Arguments args) {
  return brace_formatted(runtime, args[0].text(), args.subspan(1), Dict());
}

}  // namespace

namespace detail {

std::span<const Builtin> text_methods() {
  static constexpr Builtin kTable[] = {
      {"strip", "chars", 0, strip<true, true>},
      {"lstrip", "chars", 0, strip<true, false>},
      {"rstrip", "chars", 0, strip<false, true>},
      {"startswith", "prefix", 1, affix<true>},
      {"endswith", "suffix", 1, affix<false>},
      {"replace", "old,new,count", 2, replace},
      {"find", "sub,start,end", 1, find<false, false>},
      {"rfind", "sub,start,end", 1, find<true, false>},
      {"index", "sub,start,end", 1, find<false, true>},
      {"rindex", "sub,start,end", 1, find<true, true>},
      {"count", "sub", 1, count},
      {"join", "iterable", 1, join},
      {"format", "*", 0, format},
      {"removeprefix", "prefix", 1, remove<true>},
      {"removesuffix", "suffix", 1, remove<false>},
      {"isdigit", "", 0, all_of<kDigit>},
      {"isalpha", "", 0, all_of<kLetter>},
      {"isalnum", "", 0, all_of<kLetter | kNumber>},
      {"isspace", "", 0, is_space},
  };
  return kTable;
}

}  // namespace detail
}  // namespace fathom::jinja
