// What does an `attribute` argument of a filter name? A path like "function.name" or an index,
// looked up part by part as obj[part].
#pragma once

#include "text/jinja/runtime.h"

namespace fathom::jinja {

Value at_path(Runtime& runtime, const Value& object, const Value& path);
// len(), of a text, list, dict or undefined.
int64_t length_of(const Value& value);

}  // namespace fathom::jinja
