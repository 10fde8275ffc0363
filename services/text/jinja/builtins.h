// Which filters, tests, methods and functions do templates have? Tables by name: a name that is not
// here is refused when the template is loaded. What Hugging Face's immutable sandbox forbids
// (append, update and other changes of values) is not here either.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/runtime.h"

namespace fathom::jinja {

// args[0] is the subject of a filter, test or method; functions have none. Then one value for each
// parameter, absent where it was not given.
using Arguments = std::span<const Value>;
using Function = Value (*)(Runtime& runtime, Arguments args);

struct Builtin {
  std::string_view name;
  // Names separated by commas. "*" alone or first: any number of further values, behind the named
  // ones. "**": one optional value, then any names, as pairs of name and value.
  std::string_view parameters;
  int required = 0;
  Function function = nullptr;
};

const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
const Builtin* find_text_method(std::string_view name);
const Builtin* find_dict_method(std::string_view name);
const Builtin* find_list_method(std::string_view name);
const Builtin* find_loop_method(std::string_view name);

// How many values `parameters` names, "*" not counted.
size_t parameter_count(const Builtin& builtin);
// A filter or test that a template names by a value: map('upper'), select('odd').
Value call_named(Runtime& runtime, const Builtin& builtin, const Value& subject, Arguments rest);

namespace detail {
const Builtin* find_in(std::span<const Builtin> table, std::string_view name);
// The parts of the tables, one per source file.
std::span<const Builtin> case_filters();
std::span<const Builtin> text_filters();
std::span<const Builtin> list_filters();
std::span<const Builtin> choice_filters();
std::span<const Builtin> case_methods();
std::span<const Builtin> text_methods();
std::span<const Builtin> split_methods();
}  // namespace detail

}  // namespace fathom::jinja
