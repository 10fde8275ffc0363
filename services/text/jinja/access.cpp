#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/characters.h"
#include "text/jinja/operators.h"

namespace fathom::jinja {
namespace {

Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto& items = loop.items->items;
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  // Depths are of recursive loops only.
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem" && index > 0) return items[loop.index - 1];
  if (name == "nextitem" && index + 1 < length) return items[loop.index + 1];
  return Value::undefined(name);
}

// As Python clips slice bounds: into 0..length, or -1..length-1 when going backwards.
int64_t bound(const Value& value, int64_t length, bool backwards, int64_t otherwise) {
  if (!value.is(Kind::integer) && !value.is(Kind::boolean)) return otherwise;
  int64_t at = value.integer();
  if (at < 0) at = at < -length ? -1 : at + length;
  const int64_t low = backwards ? -1 : 0;
  return std::clamp<int64_t>(at, low, backwards ? length - 1 : length);
}

Value cut_text(Runtime& runtime, const MarkedText& text, int64_t first, int64_t last,
               int64_t step) {
  const auto offsets = character_offsets(text.bytes);
  MarkedText out;
  if (step == 1) {
    if (first < last)
      out = text.slice(offsets[static_cast<size_t>(first)], offsets[static_cast<size_t>(last)]);
    return runtime.make_text(std::move(out));
  }
  for (int64_t i = first; step > 0 ? i < last : i > last; i += step)
    out.append(text, offsets[static_cast<size_t>(i)], offsets[static_cast<size_t>(i) + 1]);
  return runtime.make_text(std::move(out));
}

}  // namespace

Value attribute(Runtime& runtime, const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::undefined:
      return undefined_error(runtime, object);
    case Kind::dict: {
      // Jinja asks the Python object first, so `message.items` is the method.
      if (find_dict_method(name) != nullptr) return Value::callable();
      const Value* value = object.dict().find(name);
      return value != nullptr ? *value : Value::undefined(name);
    }
    case Kind::space: {
      const Value* value = object.space().fields.find(name);
      return value != nullptr ? *value : Value::undefined(name);
    }
    case Kind::loop:
      return loop_attribute(object.loop(), name);
    case Kind::text:
      return find_text_method(name) != nullptr ? Value::callable() : Value::undefined(name);
    case Kind::list:
      return find_list_method(name) != nullptr ? Value::callable() : Value::undefined(name);
    default:
      return Value::undefined(name);
  }
}

Value item(Runtime& runtime, const Value& object, const Value& key, std::string_view key_name) {
  if (object.is(Kind::undefined)) return undefined_error(runtime, object);
  const bool whole = key.is(Kind::integer) || key.is(Kind::boolean);
  if (object.is(Kind::dict)) {
    if (const Value* value = object.dict().find(key)) return *value;
    const bool method = key.is(Kind::text) && find_dict_method(key.bytes()) != nullptr;
    return method ? Value::callable() : Value::undefined(key_name);
  }
  if (object.is(Kind::space) && key.is(Kind::text)) {
    const Value* value = object.space().fields.find(key.bytes());
    return value != nullptr ? *value : Value::undefined(key_name);
  }
  if (object.is(Kind::list) && whole) {
    const auto& items = object.list().items;
    const auto length = static_cast<int64_t>(items.size());
    const int64_t at = key.integer() < 0 ? key.integer() + length : key.integer();
    return at >= 0 && at < length ? items[static_cast<size_t>(at)] : Value::undefined(key_name);
  }
  if (object.is(Kind::text) && whole) {
    runtime.spend(1 + object.weight() / 64);
    const auto length = static_cast<int64_t>(character_count(object.bytes()));
    const int64_t at = key.integer() < 0 ? key.integer() + length : key.integer();
    if (at < 0 || at >= length) return Value::undefined(key_name);
    const size_t begin = character_offset(object.bytes(), at);
    const size_t size = character_offset(object.bytes().substr(begin), 1);
    return runtime.make_text(object.text().slice(begin, begin + size));
  }
  return Value::undefined(key_name);
}

Value slice(Runtime& runtime, const Value& object, const Value& first, const Value& last,
            const Value& step) {
  if (object.is(Kind::undefined)) return undefined_error(runtime, object);
  for (const Value* bound_value : {&first, &last, &step}) {
    const Kind kind = bound_value->kind();
    if (kind != Kind::integer && kind != Kind::boolean && kind != Kind::none &&
        kind != Kind::absent)
      return Value::undefined("slice");
  }
  if (!object.is(Kind::text) && !object.is(Kind::list)) return Value::undefined("slice");
  runtime.spend(1 + object.weight() / 64);
  const bool text = object.is(Kind::text);
  const auto length =
      static_cast<int64_t>(text ? character_count(object.bytes()) : object.list().items.size());
  const int64_t by = step.is(Kind::integer) || step.is(Kind::boolean) ? step.integer() : 1;
  if (by == 0) return runtime.fail("slice step cannot be zero");
  const int64_t stride = std::clamp<int64_t>(by, -length - 1, length + 1);
  const int64_t from = bound(first, length, by < 0, by < 0 ? length - 1 : 0);
  const int64_t to = bound(last, length, by < 0, by < 0 ? -1 : length);
  if (text) return cut_text(runtime, object.text(), from, to, stride);
  std::vector<Value> items;
  for (int64_t i = from; stride > 0 ? i < to : i > to; i += stride)
    items.push_back(object.list().items[static_cast<size_t>(i)]);
  return runtime.make_list(std::move(items), object.list().tuple);
}

}  // namespace fathom::jinja
