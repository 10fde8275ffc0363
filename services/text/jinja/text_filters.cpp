// What do the filters over text do? Jinja's own, and Hugging Face's tojson. Each takes any value as
// its str().
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/characters.h"
#include "text/jinja/operators.h"
#include "text/jinja/write.h"

namespace fathom::jinja {
namespace {

MarkedText text_of(Runtime& runtime, const Value& value) {
  MarkedText text;
  write_str(runtime, value, text);
  return text;
}

Value string(Runtime& runtime, Arguments args) {
  if (args[0].is(Kind::text)) return args[0];
  return runtime.make_text(text_of(runtime, args[0]));
}

Value trim(Runtime& runtime, Arguments args) {
  const MarkedText text = text_of(runtime, args[0]);
  std::string_view set;
  if (args[1].is(Kind::text)) set = args[1].bytes();
  const std::string_view* chars = args[1].is(Kind::text) ? &set : nullptr;
  const size_t begin = strip_begin(text.bytes, chars);
  return runtime.make_text(text.slice(begin, strip_end(text.bytes, begin, chars)));
}

Value replace(Runtime& runtime, Arguments args) {
  std::vector<Value> all;
  for (size_t i = 0; i < 3; ++i) all.emplace_back(text_of(runtime, args[i]));
  all.push_back(args[3].is(Kind::none) ? Value::absent() : args[3]);
  return find_text_method("replace")->function(runtime, all);
}

Value escape(Runtime& runtime, Arguments args) {
  const MarkedText text = text_of(runtime, args[0]);
  std::string out;
  for (const char c : text.bytes) {
    static constexpr std::string_view kSpecial = "&<>'\"";
    static constexpr std::string_view kNames[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const size_t special = kSpecial.find(c);
    if (special == std::string_view::npos)
      out += c;
    else
      out += kNames[special];
  }
  return runtime.make_text(text.remade(std::move(out)));
}

// The style of tojson: separators and indent as json.dumps pairs them.
Value tojson(Runtime& runtime, Arguments args) {
  JsonStyle style{.ascii = args[1].truth(), .sort_keys = args[4].truth()};
  if (args[2].is(Kind::integer)) {
    style.indent =
        std::string(static_cast<size_t>(std::clamp<int64_t>(args[2].integer(), 0, 1000)), ' ');
  } else if (args[2].is(Kind::text)) {
    style.indent = std::string(args[2].bytes());
  }
  if (style.indent) style.item_separator = ",";
  if (args[3].is(Kind::list) && args[3].list().items.size() == 2) {
    style.item_separator = str(runtime, args[3].list().items[0]);
    style.key_separator = str(runtime, args[3].list().items[1]);
  }
  MarkedText out;
  write_json(runtime, args[0], style, out);
  return runtime.make_text(std::move(out));
}

Value indent(Runtime& runtime, Arguments args) {
  const MarkedText text = text_of(runtime, args[0]);
  std::string margin(4, ' ');
  if (args[1].is(Kind::text)) margin = std::string(args[1].bytes());
  if (args[1].is(Kind::integer))
    margin.assign(static_cast<size_t>(std::clamp<int64_t>(args[1].integer(), 0, 1000)), ' ');
  const bool first = args[2].truth();
  const bool blank = args[3].truth();
  // All kinds of line ends count, and become line feeds.
  const Value whole = MarkedText(text).append("\n");
  const std::array<Value, 2> parts = {whole, Value::absent()};
  const Value lines = find_text_method("splitlines")->function(runtime, parts);
  if (runtime.failed()) return {};
  MarkedText out;
  if (first) out.append(margin);
  for (size_t i = 0; i < lines.list().items.size(); ++i) {
    const MarkedText& line = lines.list().items[i].text();
    if (i > 0) out.append("\n");
    if (i > 0 && (blank || !line.bytes.empty()) && runtime.spend_bytes(margin.size()))
      out.append(margin);
    out.append(line);
  }
  return runtime.make_text(std::move(out));
}

Value center(Runtime& runtime, Arguments args) {
  const MarkedText text = text_of(runtime, args[0]);
  const int64_t width =
      args[1].is(Kind::integer) ? std::min<int64_t>(args[1].integer(), 10000) : 80;
  const int64_t missing = width - static_cast<int64_t>(character_count(text.bytes));
  if (missing <= 0) return runtime.make_text(text);
  // CPython gives an odd blank to the left only if the width is odd.
  const int64_t left = missing / 2 + (missing & width & 1);
  MarkedText out{.bytes = std::string(static_cast<size_t>(left), ' ')};
  out.append(text).append(std::string(static_cast<size_t>(missing - left), ' '));
  return runtime.make_text(std::move(out));
}

Value format(Runtime& runtime, Arguments args) {
  const Value values = runtime.make_list(std::vector<Value>(args.begin() + 1, args.end()), true);
  return formatted(runtime, text_of(runtime, args[0]), values);
}

std::string_view trimmed(const Value& value) {
  const std::string_view text = value.bytes();
  const size_t begin = strip_begin(text, nullptr);
  return text.substr(begin, strip_end(text, begin, nullptr) - begin);
}

bool parse_real(const Value& value, double& out) {
  std::string text(trimmed(value));
  std::erase(text, '_');
  const size_t sign = text.starts_with('+') ? 1 : 0;
  const auto end = std::from_chars(text.data() + sign, text.data() + text.size(), out);
  return !text.empty() && end.ec == std::errc() && end.ptr == text.data() + text.size();
}

Value to_int(Runtime& runtime, Arguments args) {
  Value otherwise = args[1].is(Kind::absent) ? Value(int64_t{0}) : args[1];
  if (args[0].is(Kind::undefined)) return undefined_error(runtime, args[0]);
  if (args[0].is(Kind::text)) {
    std::string text(trimmed(args[0]));
    std::erase(text, '_');
    const int base = args[2].is(Kind::integer) ? static_cast<int>(args[2].integer()) : 10;
    int64_t number = 0;
    const size_t sign = text.starts_with('+') ? 1 : 0;
    if (base < 2 || base > 36) return runtime.fail("int() base must be >= 2 and <= 36");
    const auto end = std::from_chars(text.data() + sign, text.data() + text.size(), number, base);
    if (!text.empty() && end.ec == std::errc() && end.ptr == text.data() + text.size())
      return number;
  }
  double real = 0;
  if (args[0].is(Kind::text) && !parse_real(args[0], real)) return otherwise;
  if (!args[0].is(Kind::text) && !args[0].is_number()) return otherwise;
  if (args[0].is_number() && !args[0].is(Kind::real)) return args[0].integer();
  if (args[0].is(Kind::real)) real = args[0].real();
  if (!(std::abs(real) < 9.2e18)) return otherwise;
  return static_cast<int64_t>(real);
}

Value to_float(Runtime& runtime, Arguments args) {
  Value otherwise = args[1].is(Kind::absent) ? Value(0.0) : args[1];
  if (args[0].is(Kind::undefined)) return undefined_error(runtime, args[0]);
  if (args[0].is_number()) return args[0].real();
  double real = 0;
  return args[0].is(Kind::text) && parse_real(args[0], real) ? Value(real) : otherwise;
}

Value absolute(Runtime& runtime, Arguments args) {
  if (!args[0].is_number()) return runtime.fail("abs needs a number");
  if (args[0].is(Kind::real)) return std::abs(args[0].real());
  return args[0].integer() < 0 ? negated(runtime, args[0].integer()) : args[0];
}

Value round(Runtime& runtime, Arguments args) {
  if (!args[0].is_number()) return runtime.fail("round needs a number");
  const int64_t digits =
      args[1].is(Kind::integer) ? std::clamp<int64_t>(args[1].integer(), -300, 300) : 0;
  const std::string method = args[2].is(Kind::text) ? std::string(args[2].bytes()) : "common";
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (method == "ceil") return std::ceil(args[0].real() * scale) / scale;
  if (method == "floor") return std::floor(args[0].real() * scale) / scale;
  if (method != "common") return runtime.fail("method must be common, ceil or floor");
  if (digits < 0) return std::nearbyint(args[0].real() * scale) / scale;
  // Through decimal digits, as Python rounds.
  char text[700];
  const auto end = std::to_chars(text, text + sizeof text, args[0].real(), std::chars_format::fixed,
                                 static_cast<int>(digits));
  double result = args[0].real();
  std::from_chars(text, end.ptr, result);
  return result;
}

}  // namespace

namespace detail {

std::span<const Builtin> text_filters() {
  static constexpr Builtin kTable[] = {
      {"string", "", 0, string},
      {"safe", "", 0, string},
      {"trim", "chars", 0, trim},
      {"replace", "old,new,count", 2, replace},
      {"escape", "", 0, escape},
      {"e", "", 0, escape},
      {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, tojson},
      {"indent", "width,first,blank", 0, indent},
      {"center", "width", 0, center},
      {"format", "*", 0, format},
      {"int", "default,base", 0, to_int},
      {"float", "default", 0, to_float},
      {"abs", "", 0, absolute},
      {"round", "precision,method", 0, round},
  };
  return kTable;
}

}  // namespace detail
}  // namespace fathom::jinja
