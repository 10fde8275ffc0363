#include "text/jinja/operators.h"

#include <cmath>

#include "text/jinja/characters.h"

namespace fathom::jinja {
namespace {

Value mismatch(Runtime& runtime, std::string_view sign, const Value& a, const Value& b) {
  if (a.is(Kind::undefined)) return undefined_error(runtime, a);
  if (b.is(Kind::undefined)) return undefined_error(runtime, b);
  return runtime.fail("unsupported operand types for " + std::string(sign) + ": '" +
                      std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

Value repeated(Runtime& runtime, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  const auto weight = static_cast<double>(value.weight());
  if (weight * static_cast<double>(count) > static_cast<double>(runtime.limits().bytes))
    return runtime.fail("more memory than allowed");
  if (value.is(Kind::text)) {
    MarkedText text;
    for (size_t i = 0; i < count; ++i) text.append(value.text());
    return runtime.make_text(std::move(text));
  }
  std::vector<Value> items;
  for (size_t i = 0; i < count; ++i)
    items.insert(items.end(), value.list().items.begin(), value.list().items.end());
  return runtime.make_list(std::move(items), value.list().tuple);
}

Value power(Runtime& runtime, int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return runtime.fail("0 cannot be raised to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result))
      return runtime.fail("a number is too large");
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
      return runtime.fail("a number is too large");
  }
  return result;
}

Value integers(Runtime& runtime, std::string_view sign, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (sign == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (sign == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (sign == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (sign == "**") {
    return power(runtime, a, b);
  } else {
    if (b == 0) return runtime.fail("division by zero");
    if (sign == "/") return static_cast<double>(a) / static_cast<double>(b);
    // INT64_MIN / -1 does not fit.
    if (b == -1) {
      overflow = sign == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t rest = a % b != 0 && (a < 0) != (b < 0) ? 1 : 0;
      result = sign == "//" ? a / b - rest : a % b + rest * b;
    }
  }
  if (overflow) return runtime.fail("a number is too large");
  return result;
}

Value reals(Runtime& runtime, std::string_view sign, double a, double b) {
  if (sign == "+") return a + b;
  if (sign == "-") return a - b;
  if (sign == "*") return a * b;
  if (sign == "**") {
    const double result = std::pow(a, b);
    if (std::isnan(result) && !std::isnan(a) && !std::isnan(b))
      return runtime.fail("a power of a negative number is not real");
    return result;
  }
  if (b == 0) return runtime.fail("division by zero");
  if (sign == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (sign == "%") return rest == 0 ? std::copysign(0.0, b) : rest;
  // As Python rounds: the quotient nearest to an integer.
  const double quotient = (a - rest) / b;
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

Value joined(Runtime& runtime, const Value& a, const Value& b) {
  std::vector<Value> items = a.list().items;
  items.insert(items.end(), b.list().items.begin(), b.list().items.end());
  return runtime.make_list(std::move(items), a.list().tuple);
}

}  // namespace

Value undefined_error(Runtime& runtime, const Value& value) {
  const std::string_view name = value.undefined_name();
  return runtime.fail(name.empty() ? "a value is undefined"
                                   : "'" + std::string(name) + "' is undefined");
}

Value arithmetic(Runtime& runtime, std::string_view sign, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number())
    return a.is(Kind::real) || b.is(Kind::real) ? reals(runtime, sign, a.real(), b.real())
                                                : integers(runtime, sign, a.integer(), b.integer());
  if (sign == "+") {
    if (a.is(Kind::text) && b.is(Kind::text)) {
      MarkedText text;
      text.bytes.reserve(a.bytes().size() + b.bytes().size());
      return runtime.make_text(std::move(text.append(a.text()).append(b.text())));
    }
    if (a.is(Kind::list) && b.is(Kind::list) && a.list().tuple == b.list().tuple)
      return joined(runtime, a, b);
  }
  const auto whole = [](const Value& v) { return v.is(Kind::integer) || v.is(Kind::boolean); };
  const auto sequence = [](const Value& v) { return v.is(Kind::text) || v.is(Kind::list); };
  if (sign == "*" && sequence(a) && whole(b)) return repeated(runtime, a, b.integer());
  if (sign == "*" && whole(a) && sequence(b)) return repeated(runtime, b, a.integer());
  if (sign == "%" && a.is(Kind::text)) return formatted(runtime, a.text(), b);
  return mismatch(runtime, sign, a, b);
}

Value negated(Runtime& runtime, const Value& value) {
  if (value.is(Kind::real)) return -value.real();
  if (value.is_number()) return integers(runtime, "-", 0, value.integer());
  if (value.is(Kind::undefined)) return undefined_error(runtime, value);
  return runtime.fail("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
}

bool contains(Runtime& runtime, const Value& item, const Value& container) {
  runtime.spend(1 + container.weight() / 64);
  if (container.is(Kind::text)) {
    if (!item.is(Kind::text)) {
      runtime.fail("'in <string>' requires a string, not " + std::string(type_name(item)));
      return false;
    }
    return container.bytes().find(item.bytes()) != std::string_view::npos;
  }
  if (container.is(Kind::dict)) return container.dict().find(item) != nullptr;
  if (container.is(Kind::list)) {
    for (const Value& one : container.list().items)
      if (equal(one, item)) return true;
    return false;
  }
  if (!container.is(Kind::undefined))
    runtime.fail("argument of type '" + std::string(type_name(container)) + "' is not iterable");
  return false;
}

int ordered(Runtime& runtime, const Value& a, const Value& b) {
  int result = 0;
  if (!runtime.spend(1 + std::min(a.weight(), b.weight()) / 64)) return 0;
  if (!order(a, b, result)) mismatch(runtime, "<", a, b);
  return result;
}

ListPtr items_of(Runtime& runtime, const Value& value) {
  static const ListPtr nothing = std::make_shared<List>();
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::list:
      return value.list_ptr();
    case Kind::undefined:
      return nothing;
    case Kind::dict:
      for (const auto& item : value.dict().items) items.push_back(item.first);
      break;
    case Kind::text: {
      const auto offsets = character_offsets(value.bytes());
      for (size_t i = 0; i + 1 < offsets.size(); ++i)
        items.emplace_back(value.text().slice(offsets[i], offsets[i + 1]));
      runtime.spend_bytes(items.size() * 64);
      break;
    }
    default:
      runtime.fail("'" + std::string(type_name(value)) + "' object is not iterable");
      return nothing;
  }
  const Value list = runtime.make_list(std::move(items));
  return list.is(Kind::list) ? list.list_ptr() : nothing;
}

}  // namespace fathom::jinja
