// What do Python's operators make of two values, and what is obj.name and obj[key]? The meanings
// that Jinja gives them, errors included: `'a' + none` fails, `none.x` is undefined, `undefined.x`
// fails.
#pragma once

#include <span>

#include "text/jinja/runtime.h"

namespace fathom::jinja {

// `sign` is + - * / // % **.
Value arithmetic(Runtime& runtime, std::string_view sign, const Value& a, const Value& b);
Value negated(Runtime& runtime, const Value& value);
bool contains(Runtime& runtime, const Value& item, const Value& container);
// -1, 0 or 1; fails where Python raises TypeError.
int ordered(Runtime& runtime, const Value& a, const Value& b);

// Both names outlive the rendering.
Value attribute(Runtime& runtime, const Value& object, std::string_view name);
Value item(Runtime& runtime, const Value& object, const Value& key, std::string_view key_name);
// Bounds that are none or absent are open.
Value slice(Runtime& runtime, const Value& object, const Value& first, const Value& last,
            const Value& step);

// What a for loop or a filter goes through; fails for what is not iterable.
ListPtr items_of(Runtime& runtime, const Value& value);
Value undefined_error(Runtime& runtime, const Value& value);

// Python's printf-like formatting, of `format % values`.
Value formatted(Runtime& runtime, const MarkedText& format, const Value& values);
// str.format, without format specifications.
Value brace_formatted(Runtime& runtime, const MarkedText& format, std::span<const Value> positional,
                      const Dict& named);

}  // namespace fathom::jinja
