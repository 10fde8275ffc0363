// How is a value written as text? As Python's str() and repr() would, and as json.dumps does with
// the settings of Hugging Face's tojson. What people typed stays marked inside whatever it is
// written into.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/runtime.h"

namespace fathom::jinja {

// str(), appended to `out`; what is written counts against the rendering's memory.
void write_str(Runtime& runtime, const Value& value, MarkedText& out);
void write_repr(Runtime& runtime, const Value& value, MarkedText& out);
std::string str(Runtime& runtime, const Value& value);
std::string real_repr(double value);

struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // of one level; absent: all in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Fails for values that are not JSON.
void write_json(Runtime& runtime, const Value& value, const JsonStyle& style, MarkedText& out);

}  // namespace fathom::jinja
