// Which functions and methods of dicts, lists and loops do templates have? Jinja's globals, those
// that Hugging Face adds (raise_exception, strftime_now), and what its immutable sandbox leaves of
// the methods.
#include <ctime>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/write.h"

namespace fathom::jinja {
namespace {

Value raise_exception(Runtime& runtime, Arguments args) {
  return runtime.raise(str(runtime, args[0]));
}

// In UTC. Only conversions that every C library has and whose length is bounded.
Value strftime_now(Runtime& runtime, Arguments args) {
  if (!args[0].is(Kind::text)) return runtime.fail("strftime_now needs a string");
  const std::time_t now = runtime.unix_seconds();
  std::tm time{};
  gmtime_r(&now, &time);
  MarkedText out;
  const std::string_view format = args[0].bytes();
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out.append(format.substr(at, 1));
      continue;
    }
    std::string conversion = "%";
    if (at + 1 < format.size() && format[at + 1] == '-') conversion += format[++at];
    const char kind = at + 1 < format.size() ? format[++at] : '\0';
    if (std::string_view("aAbBcdDeFHIjmMpSTuUwWxXyYZz%").find(kind) == std::string_view::npos)
      return runtime.fail("strftime_now does not know one of the conversions");
    conversion += kind;
    char text[100];
    const size_t size =
        kind == 'Z' ? 0 : std::strftime(text, sizeof text, conversion.c_str(), &time);
    // Python's naive datetime has no zone to name.
    if (kind != 'z') out.append(std::string_view(text, size));
  }
  return runtime.make_text(std::move(out));
}

Value range(Runtime& runtime, Arguments args) {
  for (const Value& arg : args)
    if (!arg.is(Kind::integer) && !arg.is(Kind::absent))
      return runtime.fail("range needs integers");
  const bool single = args[1].is(Kind::absent);
  const int64_t start = single ? 0 : args[0].integer();
  const int64_t stop = single ? args[0].integer() : args[1].integer();
  const int64_t step = args[2].is(Kind::absent) ? 1 : args[2].integer();
  if (step == 0) return runtime.fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  const auto before_stop = [&](int64_t at) { return step > 0 ? at < stop : at > stop; };
  for (int64_t at = start; before_stop(at);) {
    if (static_cast<int64_t>(items.size()) >= runtime.limits().range_items)
      return runtime.fail("Range too big.");
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return runtime.make_list(std::move(items));
}

// args: an optional dict, then names and values in turn.
Dict fields_of(Runtime& runtime, Arguments args) {
  Dict fields;
  if (args[0].is(Kind::dict))
    for (const auto& [key, value] : args[0].dict().items) fields.set(key, value);
  else if (!args[0].is(Kind::absent))
    runtime.fail("expected a dict");
  for (size_t i = 1; i + 1 < args.size(); i += 2) fields.set(args[i], args[i + 1]);
  return fields;
}

Value make_namespace(Runtime& runtime, Arguments args) {
  return runtime.make_space(fields_of(runtime, args));
}
Value make_dict(Runtime& runtime, Arguments args) {
  return runtime.make_dict(fields_of(runtime, args));
}

Value get(Runtime&, Arguments args) {
  if (const Value* value = args[0].dict().find(args[1])) return *value;
  return args[2].is(Kind::absent) ? Value::none() : args[2];
}

Value keys(Runtime& runtime, Arguments args) {
  std::vector<Value> out;
  for (const auto& item : args[0].dict().items) out.push_back(item.first);
  return runtime.make_list(std::move(out));
}

Value values(Runtime& runtime, Arguments args) {
  std::vector<Value> out;
  for (const auto& item : args[0].dict().items) out.push_back(item.second);
  return runtime.make_list(std::move(out));
}

Value items(Runtime& runtime, Arguments args) {
  std::vector<Value> out;
  for (const auto& [key, value] : args[0].dict().items)
    out.push_back(runtime.make_list({key, value}, true));
  return runtime.make_list(std::move(out));
}

Value same(Runtime&, Arguments args) { return args[0]; }

Value index(Runtime& runtime, Arguments args) {
  const auto& list = args[0].list().items;
  for (size_t i = 0; i < list.size(); ++i)
    if (equal(list[i], args[1])) return static_cast<int64_t>(i);
  return runtime.fail("the value is not in the list");
}

Value count(Runtime&, Arguments args) {
  int64_t found = 0;
  for (const Value& item : args[0].list().items) found += equal(item, args[1]) ? 1 : 0;
  return found;
}

Value cycle(Runtime& runtime, Arguments args) {
  if (args.size() < 2) return runtime.fail("no items for cycling given");
  return args[1 + args[0].loop().index % (args.size() - 1)];
}

constexpr Builtin kFunctions[] = {
    {"raise_exception", "message", 1, raise_exception},
    {"strftime_now", "format", 1, strftime_now},
    {"range", "start,stop,step", 1, range},
    {"namespace", "**", 0, make_namespace},
    {"dict", "**", 0, make_dict},
};
constexpr Builtin kDictMethods[] = {
    {"get", "key,default", 1, get}, {"keys", "", 0, keys}, {"values", "", 0, values},
    {"items", "", 0, items},        {"copy", "", 0, same},
};
constexpr Builtin kListMethods[] = {
    {"index", "value", 1, index}, {"count", "value", 1, count}, {"copy", "", 0, same}};
constexpr Builtin kLoopMethods[] = {{"cycle", "*", 0, cycle}};

}  // namespace

const Builtin* find_function(std::string_view name) { return detail::find_in(kFunctions, name); }
const Builtin* find_dict_method(std::string_view name) {
  return detail::find_in(kDictMethods, name);
}
const Builtin* find_list_method(std::string_view name) {
  return detail::find_in(kListMethods, name);
}
const Builtin* find_loop_method(std::string_view name) {
  return detail::find_in(kLoopMethods, name);
}

}  // namespace fathom::jinja
