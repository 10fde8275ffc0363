#include "text/jinja/write.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <list>

#include "text/utf8.h"

namespace fathom::jinja {
namespace {

std::string hex(char32_t c, int digits) {
  char text[16];
  std::snprintf(text, sizeof text, "%0*x", digits, static_cast<unsigned>(c));
  return text;
}

bool printable(char32_t c) {
  if (c == ' ') return true;
  const uint32_t hidden = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK | U_GC_CN_MASK |
                          U_GC_ZL_MASK | U_GC_ZP_MASK | U_GC_ZS_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & hidden) == 0;
}

void escape_python(char32_t c, char quote, std::string& out) {
  if (c == '\\' || c == static_cast<unsigned char>(quote)) {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (printable(c)) {
    append_code_point(c, out);
  } else if (c < 0x100) {
    out += "\\x" + hex(c, 2);
  } else if (c < 0x10000) {
    out += "\\u" + hex(c, 4);
  } else {
    out += "\\U" + hex(c, 8);
  }
}

// The characters of `text` through `escape`, marked like the text.
template <class Escape>
void write_quoted(const MarkedText& text, char quote, MarkedText& out, const Escape& escape) {
  out.append(std::string_view(&quote, 1));
  std::string escaped;
  escaped.reserve(text.bytes.size());
  for (size_t at = 0; at < text.bytes.size();) {
    const CodePoint c = code_point(text.bytes.data() + at);
    escape(c.value, escaped);
    at += c.length;
  }
  out.append(text.remade(std::move(escaped)));
  out.append(std::string_view(&quote, 1));
}

void write_repr(const Value& value, MarkedText& out);

void write_items(const List& list, MarkedText& out) {
  out.append(list.tuple ? "(" : "[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out.append(", ");
    write_repr(list.items[i], out);
  }
  out.append(list.tuple ? list.items.size() == 1 ? ",)" : ")" : "]");
}

void write_fields(const Dict& dict, MarkedText& out) {
  out.append("{");
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) out.append(", ");
    write_repr(dict.items[i].first, out);
    out.append(": ");
    write_repr(dict.items[i].second, out);
  }
  out.append("}");
}

}  // namespace

// The shortest digits that read back, written as Python writes them.
std::string real_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific);
  const std::string_view written(text, static_cast<size_t>(end.ptr - text));
  const size_t e = written.find('e');
  std::string digits;
  for (const char c : written.substr(0, e))
    if (c >= '0' && c <= '9') digits += c;
  const std::string sign = written.starts_with('-') ? "-" : "";
  int exponent = 0;
  const std::string_view power = written.substr(e + (written[e + 1] == '+' ? 2 : 1));
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = digits.size() > 1 ? "." + digits.substr(1) : "";
    const std::string width = std::abs(exponent) < 10 ? "0" : "";
    return sign + digits[0] + fraction + (exponent < 0 ? "e-" : "e+") + width +
           std::to_string(std::abs(exponent));
  }
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

namespace {

void write_plain(const Value& value, MarkedText& out) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::absent:
      return;
    case Kind::none:
      out.append("None");
      return;
    case Kind::boolean:
      out.append(value.boolean() ? "True" : "False");
      return;
    case Kind::integer:
      out.append(std::to_string(value.integer()));
      return;
    case Kind::real:
      out.append(real_repr(value.real()));
      return;
    case Kind::text:
      out.append(value.text());
      return;
    case Kind::list:
      return write_items(value.list(), out);
    case Kind::dict:
      return write_fields(value.dict(), out);
    case Kind::space:
      out.append("<Namespace>");
      return;
    case Kind::loop:
      out.append("<LoopContext>");
      return;
    case Kind::callable:
      out.append("<function>");
      return;
  }
}

void write_repr(const Value& value, MarkedText& out) {
  if (value.is(Kind::undefined)) {
    out.append("Undefined");
    return;
  }
  if (!value.is(Kind::text)) return write_plain(value, out);
  const bool single = value.bytes().find('\'') != std::string_view::npos &&
                      value.bytes().find('"') == std::string_view::npos;
  const char quote = single ? '"' : '\'';
  write_quoted(value.text(), quote, out,
               [quote](char32_t c, std::string& to) { escape_python(c, quote, to); });
}

void escape_json(char32_t c, bool ascii, std::string& out) {
  static constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
  static constexpr std::string_view kNames = "\"\\nrtbf";
  const size_t named = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
  if (named != std::string_view::npos) {
    out += '\\';
    out += kNames[named];
  } else if (c < 0x20 || (ascii && c > 0x7E && c < 0x10000)) {
    out += "\\u" + hex(c, 4);
  } else if (ascii && c >= 0x10000) {
    out += "\\u" + hex(0xD800 + ((c - 0x10000) >> 10), 4);
    out += "\\u" + hex(0xDC00 + ((c - 0x10000) & 0x3FF), 4);
  } else {
    append_code_point(c, out);
  }
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style, MarkedText& out)
      : runtime_(runtime), style_(style), out_(out) {}

  void value(const Value& v) {
    switch (v.kind()) {
      case Kind::none:
        out_.append("null");
        return;
      case Kind::boolean:
        out_.append(v.boolean() ? "true" : "false");
        return;
      case Kind::integer:
        out_.append(std::to_string(v.integer()));
        return;
      case Kind::real:
        out_.append(real(v.real()));
        return;
      case Kind::text:
        return text(v.text());
      case Kind::list:
        return list(v.list());
      case Kind::dict:
        return dict(v.dict());
      default:
        runtime_.fail("a value of type " + std::string(type_name(v)) + " is not JSON serializable");
    }
  }

 private:
  static std::string real(double v) {
    if (std::isnan(v)) return "NaN";
    if (std::isinf(v)) return v < 0 ? "-Infinity" : "Infinity";
    return real_repr(v);
  }
  void text(const MarkedText& v) {
    write_quoted(v, '"', out_,
                 [this](char32_t c, std::string& to) { escape_json(c, style_.ascii, to); });
  }
  void line_break() {
    if (!style_.indent) return;
    out_.append("\n");
    for (int i = 0; i < level_; ++i) out_.append(*style_.indent);
  }
  void separate(bool first) {
    if (!first) {
      std::string_view separator = style_.item_separator;
      out_.append(separator);
    }
    line_break();
  }
  void list(const List& v) {
    if (v.items.empty()) {
      out_.append("[]");
      return;
    }
    out_.append("[");
    ++level_;
    for (size_t i = 0; i < v.items.size() && !runtime_.failed(); ++i) {
      separate(i == 0);
      value(v.items[i]);
    }
    --level_;
    line_break();
    out_.append("]");
  }
  void key(const Value& v) {
    if (v.is(Kind::text)) return text(v.text());
    if (!v.is_number() && !v.is(Kind::none)) {
      runtime_.fail("a key of type " + std::string(type_name(v)) + " is not JSON serializable");
      return;
    }
    out_.append("\"");
    value(v);
    out_.append("\"");
  }
  void dict(const Dict& v) {
    if (v.items.empty()) {
      out_.append("{}");
      return;
    }
    std::list<const std::pair<Value, Value>*> items;
    for (const auto& item : v.items) items.push_back(&item);
    if (style_.sort_keys) sort(items);
    out_.append("{");
    ++level_;
    bool first = true;
    for (const auto* item : items) {
      if (runtime_.failed()) break;
      separate(std::exchange(first, false));
      key(item->first);
      out_.append(style_.key_separator);
      value(item->second);
    }
    --level_;
    line_break();
    out_.append("}");
  }
  void sort(std::list<const std::pair<Value, Value>*>& items) {
    for (const auto* item : items)
      if (item->first.kind() != items.front()->first.kind()) {
        runtime_.fail("keys of several types can not be sorted");
        return;
      }
    items.sort([](const auto* a, const auto* b) {
      int result = 0;
      order(a->first, b->first, result);
      return result < 0;
    });
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  MarkedText& out_;
  int level_ = 0;
};

}  // namespace

void write_str(Runtime& runtime, const Value& value, MarkedText& out) {
  if (runtime.spend_bytes(static_cast<size_t>(value.weight()))) write_plain(value, out);
}

void write_repr(Runtime& runtime, const Value& value, MarkedText& out) {
  if (runtime.spend_bytes(static_cast<size_t>(value.weight()))) write_repr(value, out);
}

std::string str(Runtime& runtime, const Value& value) {
  MarkedText text;
  write_str(runtime, value, text);
  return std::move(text.bytes);
}

void write_json(Runtime& runtime, const Value& value, const JsonStyle& style, MarkedText& out) {
  if (!runtime.spend_bytes(static_cast<size_t>(value.weight()))) return;
  JsonWriter(runtime, style, out).value(value);
}

}  // namespace fathom::jinja
