// What is a value? Jinja's tests, of `x is ...` and of select and reject.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"

namespace fathom::jinja {
namespace {

template <Kind... Kinds>
Value is_kind(Runtime&, Arguments args) {
  return (args[0].is(Kinds) || ...);
}

Value is_defined(Runtime&, Arguments args) { return !args[0].is(Kind::undefined); }
Value is_true(Runtime&, Arguments args) { return args[0].is(Kind::boolean) && args[0].boolean(); }
Value is_false(Runtime&, Arguments args) { return args[0].is(Kind::boolean) && !args[0].boolean(); }

Value is_equal(Runtime& runtime, Arguments args) {
  runtime.spend(1 + std::min(args[0].weight(), args[1].weight()) / 64);
  return equal(args[0], args[1]);
}
Value is_unequal(Runtime& runtime, Arguments args) { return !is_equal(runtime, args).boolean(); }
Value is_less(Runtime& runtime, Arguments args) { return ordered(runtime, args[0], args[1]) < 0; }
Value is_at_most(Runtime& runtime, Arguments args) {
  return ordered(runtime, args[0], args[1]) <= 0;
}
Value is_greater(Runtime& runtime, Arguments args) {
  return ordered(runtime, args[0], args[1]) > 0;
}
Value is_at_least(Runtime& runtime, Arguments args) {
  return ordered(runtime, args[0], args[1]) >= 0;
}
Value is_in(Runtime& runtime, Arguments args) { return contains(runtime, args[0], args[1]); }

Value is_same(Runtime&, Arguments args) {
  return args[0].kind() == args[1].kind() && equal(args[0], args[1]);
}

Value divides(Runtime& runtime, const Value& value, const Value& by, int64_t rest) {
  const Value result = arithmetic(runtime, "%", value, by);
  return !runtime.failed() && equal(result, rest);
}
Value is_odd(Runtime& runtime, Arguments args) { return divides(runtime, args[0], int64_t{2}, 1); }
Value is_even(Runtime& runtime, Arguments args) { return divides(runtime, args[0], int64_t{2}, 0); }
Value is_divisible(Runtime& runtime, Arguments args) {
  return divides(runtime, args[0], args[1], 0);
}

// str.isupper and str.islower: some letter has a case, and none has the other.
template <bool Upper>
Value is_case(Runtime& runtime, Arguments args) {
  if (!args[0].is(Kind::text)) return false;
  const Function upper = find_text_method("upper")->function;
  const Function lower = find_text_method("lower")->function;
  const Value up = upper(runtime, args.first(1));
  const Value low = lower(runtime, args.first(1));
  if (runtime.failed()) return false;
  return up.bytes() != low.bytes() && args[0].bytes() == (Upper ? up : low).bytes();
}

Value is_filter(Runtime&, Arguments args) {
  return args[0].is(Kind::text) && find_filter(args[0].bytes()) != nullptr;
}
Value is_test(Runtime&, Arguments args) {
  return args[0].is(Kind::text) && find_test(args[0].bytes()) != nullptr;
}

constexpr Builtin kTests[] = {
    {"defined", "", 0, is_defined},
    {"undefined", "", 0, is_kind<Kind::undefined>},
    {"none", "", 0, is_kind<Kind::none>},
    {"boolean", "", 0, is_kind<Kind::boolean>},
    {"true", "", 0, is_true},
    {"false", "", 0, is_false},
    {"integer", "", 0, is_kind<Kind::integer>},
    {"float", "", 0, is_kind<Kind::real>},
    {"number", "", 0, is_kind<Kind::boolean, Kind::integer, Kind::real>},
    {"string", "", 0, is_kind<Kind::text>},
    {"mapping", "", 0, is_kind<Kind::dict>},
    {"sequence", "", 0, is_kind<Kind::text, Kind::list, Kind::dict, Kind::undefined>},
    {"iterable", "", 0, is_kind<Kind::text, Kind::list, Kind::dict, Kind::undefined, Kind::loop>},
    {"callable", "", 0, is_kind<Kind::callable, Kind::loop>},
    {"sameas", "other", 1, is_same},
    {"eq", "other", 1, is_equal},
    {"==", "other", 1, is_equal},
    {"equalto", "other", 1, is_equal},
    {"ne", "other", 1, is_unequal},
    {"!=", "other", 1, is_unequal},
    {"lt", "other", 1, is_less},
    {"<", "other", 1, is_less},
    {"lessthan", "other", 1, is_less},
    {"le", "other", 1, is_at_most},
    {"<=", "other", 1, is_at_most},
    {"gt", "other", 1, is_greater},
    {">", "other", 1, is_greater},
    {"greaterthan", "other", 1, is_greater},
    {"ge", "other", 1, is_at_least},
    {">=", "other", 1, is_at_least},
    {"in", "seq", 1, is_in},
    {"odd", "", 0, is_odd},
    {"even", "", 0, is_even},
    {"divisibleby", "num", 1, is_divisible},
    {"upper", "", 0, is_case<true>},
    {"lower", "", 0, is_case<false>},
    {"filter", "", 0, is_filter},
    {"test", "", 0, is_test},
};

}  // namespace

const Builtin* find_test(std::string_view name) { return detail::find_in(kTests, name); }

}  // namespace fathom::jinja
