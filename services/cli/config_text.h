// What does a settings file look like? The reverse of process/config.h: every field of a config as
// YAML, with its description above it when asked. `fathom up` writes the files of its services with
// it, `fathom config` prints the defaults. Reading the text back gives an equal config.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>

#include "process/config.h"

namespace fathom {

// A YAML (and JSON) string literal.
std::string quoted_text(std::string_view text);

namespace config_detail {

template <class T>
std::string scalar_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_arithmetic_v<T>) {
    char digits[64];
    const auto end = std::to_chars(digits, digits + sizeof digits, value);
    return std::string(digits, end.ptr);
  } else {
    return quoted_text(value);
  }
}

class Writer {
 public:
  Writer(std::string indent, bool describe) : indent_(std::move(indent)), describe_(describe) {}

  template <class T>
  void operator()(std::string_view key, T& value, std::string_view about) {
    if (describe_) text_ += indent_ + "# " + std::string(about) + "\n";
    text_ += indent_ + std::string(key) + ":";
    if constexpr (Struct<T>) {
      Writer inner(indent_ + "  ", describe_);
      value.fields(inner);
      text_ += "\n" + inner.text();
    } else if constexpr (IsVector<T>::value) {
      list(value);
    } else {
      text_ += " " + scalar_text(value) + "\n";
    }
  }

  const std::string& text() const { return text_; }

 private:
  template <class T>
  void list(std::vector<T>& values) {
    if (values.empty()) text_ += " []";
    text_ += "\n";
    for (auto& value : values) {
      if constexpr (Struct<T>) {
        Writer inner(indent_ + "    ", false);
        value.fields(inner);
        text_ += indent_ + "  -\n" + inner.text();
      } else {
        text_ += indent_ + "  - " + scalar_text(value) + "\n";
      }
    }
  }

  std::string indent_;
  bool describe_;
  std::string text_;
};

}  // namespace config_detail

template <class T>
std::string config_text(T config, bool describe = false) {
  config_detail::Writer writer("", describe);
  config.fields(writer);
  return writer.text();
}

}  // namespace fathom
