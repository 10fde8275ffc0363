// Which items does a filter keep, and what does it make of each? select, reject and map with their
// kin, and default.
#include <algorithm>
#include <charconv>

#include "text/jinja/builtins.h"
#include "text/jinja/characters.h"
#include "text/jinja/operators.h"
#include "text/jinja/paths.h"

namespace fathom::jinja {

Value at_path(Runtime& runtime, const Value& object, const Value& path) {
  if (!path.is(Kind::text)) return item(runtime, object, path, "attribute");
  Value at = object;
  std::string_view rest = path.bytes();
  while (true) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto end = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = !part.empty() && end.ptr == part.data() + part.size();
    at = item(runtime, at, number ? Value(index) : Value::trusted(part), "attribute");
    if (dot == rest.size() || runtime.failed()) return at;
    rest.remove_prefix(dot + 1);
  }
}

int64_t length_of(const Value& value) {
  if (value.is(Kind::text)) return static_cast<int64_t>(character_count(value.bytes()));
  if (value.is(Kind::list)) return static_cast<int64_t>(value.list().items.size());
  return value.is(Kind::dict) ? static_cast<int64_t>(value.dict().items.size()) : 0;
}

namespace {

// args: the list, then perhaps an attribute, then perhaps a test and its arguments.
template <bool Attribute, bool Wanted>
Value choose(Runtime& runtime, Arguments args) {
  const size_t test_at = Attribute ? 2 : 1;
  if (Attribute && args.size() < 2) return runtime.fail("selectattr needs an attribute");
  const Builtin* test = nullptr;
  if (args.size() > test_at) {
    if (args[test_at].is(Kind::text)) test = find_test(args[test_at].bytes());
    if (test == nullptr) return runtime.fail("no such test");
  }
  std::vector<Value> out;
  for (const Value& one : items_of(runtime, args[0])->items) {
    if (!runtime.spend()) break;
    const Value subject = Attribute ? at_path(runtime, one, args[1]) : one;
    const bool holds = test == nullptr
                           ? subject.truth()
                           : call_named(runtime, *test, subject, args.subspan(test_at + 1)).truth();
    if (holds == Wanted) out.push_back(one);
  }
  return runtime.make_list(std::move(out));
}

// args: the list, attribute, default, then perhaps a filter and its arguments.
Value map(Runtime& runtime, Arguments args) {
  const bool by_attribute = !args[1].is(Kind::absent);
  const Builtin* filter = nullptr;
  if (!by_attribute) {
    if (args.size() > 3 && args[3].is(Kind::text)) filter = find_filter(args[3].bytes());
    if (filter == nullptr) return runtime.fail("map needs a filter or an attribute");
  }
  std::vector<Value> out;
  for (const Value& one : items_of(runtime, args[0])->items) {
    if (!runtime.spend(1 + one.weight() / 64)) break;
    if (!by_attribute) {
      out.push_back(call_named(runtime, *filter, one, args.subspan(4)));
      continue;
    }
    Value found = at_path(runtime, one, args[1]);
    if (found.is(Kind::undefined) && !args[2].is(Kind::absent)) found = args[2];
    out.push_back(std::move(found));
  }
  return runtime.make_list(std::move(out));
}

Value otherwise(Runtime&, Arguments args) {
  const bool use = args[0].is(Kind::undefined) || (args[2].truth() && !args[0].truth());
  if (!use) return args[0];
  return args[1].is(Kind::absent) ? Value::trusted("") : args[1];
}

}  // namespace

namespace detail {

std::span<const Builtin> choice_filters() {
  static constexpr Builtin kTable[] = {
      {"default", "default_value,boolean", 0, otherwise},
      {"d", "default_value,boolean", 0, otherwise},
      {"map", "*,attribute,default", 0, map},
      {"select", "*", 0, choose<false, true>},
      {"reject", "*", 0, choose<false, false>},
      {"selectattr", "*", 1, choose<true, true>},
      {"rejectattr", "*", 1, choose<true, false>},
  };
  return kTable;
}

}  // namespace detail
}  // namespace fathom::jinja
