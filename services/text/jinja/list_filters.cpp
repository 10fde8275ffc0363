// What do the filters over lists do? Jinja's own. What Jinja gives as a generator is a list here,
// which can do more and prints the same after `list` or `join`.
#include <algorithm>
#include <list>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/paths.h"
#include "text/jinja/write.h"

namespace fathom::jinja {
namespace {

Value length(Runtime& runtime, Arguments args) {
  if (args[0].is(Kind::text) || args[0].is(Kind::list) || args[0].is(Kind::dict) ||
      args[0].is(Kind::undefined))
    return length_of(args[0]);
  return runtime.fail("object of type '" + std::string(type_name(args[0])) + "' has no len()");
}

Value list(Runtime& runtime, Arguments args) {
  return runtime.make_list(items_of(runtime, args[0])->items);
}

Value first(Runtime& runtime, Arguments args) {
  const ListPtr items = items_of(runtime, args[0]);
  return items->items.empty() ? Value::undefined("first") : items->items.front();
}

Value last(Runtime& runtime, Arguments args) {
  const ListPtr items = items_of(runtime, args[0]);
  return items->items.empty() ? Value::undefined("last") : items->items.back();
}

Value join(Runtime& runtime, Arguments args) {
  const ListPtr items = items_of(runtime, args[0]);
  MarkedText separator;
  write_str(runtime, args[1], separator);
  MarkedText out;
  for (size_t i = 0; i < items->items.size() && !runtime.failed(); ++i) {
    if (i > 0 && runtime.spend_bytes(separator.bytes.size())) out.append(separator);
    const Value& item = items->items[i];
    write_str(runtime, args[2].is(Kind::absent) ? item : at_path(runtime, item, args[2]), out);
  }
  return runtime.make_text(std::move(out));
}

Value reverse(Runtime& runtime, Arguments args) {
  std::vector<Value> items = items_of(runtime, args[0])->items;
  std::ranges::reverse(items);
  if (!args[0].is(Kind::text)) return runtime.make_list(std::move(items));
  MarkedText out;
  for (const Value& item : items) out.append(item.text());
  return runtime.make_text(std::move(out));
}

// What items are compared by: an attribute, and small letters unless told otherwise.
std::vector<Value> keys_of(Runtime& runtime, const std::vector<Value>& items, const Value& path,
                           bool case_sensitive) {
  std::vector<Value> keys;
  for (const Value& item : items) {
    Value key = path.is(Kind::absent) || path.is(Kind::none) ? item : at_path(runtime, item, path);
    if (!case_sensitive && key.is(Kind::text))
      key = find_text_method("lower")->function(runtime, Arguments(&key, 1));
    keys.push_back(std::move(key));
  }
  return keys;
}

// A list's merge sort keeps the order of equal keys and, unlike an array's, stays within bounds
// when a comparison fails midway or NaN makes the order inconsistent.
std::list<size_t> sorted_order(Runtime& runtime, const std::vector<Value>& keys, bool reverse) {
  std::list<size_t> order_of;
  for (size_t i = 0; i < keys.size(); ++i) order_of.push_back(i);
  order_of.sort([&](size_t a, size_t b) {
    const int result = ordered(runtime, keys[a], keys[b]);
    return reverse ? result > 0 : result < 0;
  });
  return order_of;
}

Value sort(Runtime& runtime, Arguments args) {
  const auto& items = items_of(runtime, args[0])->items;
  const auto keys = keys_of(runtime, items, args[3], args[2].truth());
  std::vector<Value> out;
  for (const size_t i : sorted_order(runtime, keys, args[1].truth())) out.push_back(items[i]);
  return runtime.make_list(std::move(out));
}

Value dictsort(Runtime& runtime, Arguments args) {
  if (!args[0].is(Kind::dict)) return runtime.fail("dictsort needs a dict");
  const bool by_value = args[2].is(Kind::text) && args[2].bytes() == "value";
  std::vector<Value> by;
  for (const auto& [key, value] : args[0].dict().items) by.push_back(by_value ? value : key);
  const auto keys = keys_of(runtime, by, Value::absent(), args[1].truth());
  std::vector<Value> out;
  for (const size_t i : sorted_order(runtime, keys, args[3].truth())) {
    const auto& [key, value] = args[0].dict().items[i];
    out.push_back(runtime.make_list({key, value}, true));
  }
  return runtime.make_list(std::move(out));
}

Value unique(Runtime& runtime, Arguments args) {
  const auto& items = items_of(runtime, args[0])->items;
  const auto keys = keys_of(runtime, items, args[2], args[1].truth());
  Dict seen;
  std::vector<Value> out;
  for (size_t i = 0; i < items.size() && runtime.spend(); ++i) {
    if (!keys[i].is(Kind::text) && !runtime.spend(static_cast<int64_t>(seen.items.size()))) break;
    if (seen.find(keys[i]) != nullptr) continue;
    seen.set(keys[i], Value::none());
    out.push_back(items[i]);
  }
  return runtime.make_list(std::move(out));
}

template <int Sign>
Value extreme(Runtime& runtime, Arguments args) {
  const auto& items = items_of(runtime, args[0])->items;
  if (items.empty()) return Value::undefined("an empty sequence");
  const auto keys = keys_of(runtime, items, args[2], args[1].truth());
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i)
    if (ordered(runtime, keys[i], keys[best]) * Sign > 0) best = i;
  return items[best];
}

Value sum(Runtime& runtime, Arguments args) {
  Value total = args[2].is(Kind::absent) ? Value(int64_t{0}) : args[2];
  for (const Value& item : items_of(runtime, args[0])->items) {
    const bool plain = args[1].is(Kind::absent) || args[1].is(Kind::none);
    total = arithmetic(runtime, "+", total, plain ? item : at_path(runtime, item, args[1]));
    if (!runtime.spend()) break;
  }
  return total;
}

Value items(Runtime& runtime, Arguments args) {
  if (args[0].is(Kind::undefined)) return runtime.make_list({});
  if (!args[0].is(Kind::dict)) return runtime.fail("Can only get item pairs from a mapping.");
  return find_dict_method("items")->function(runtime, args.first(1));
}

Value batch(Runtime& runtime, Arguments args) {
  if (!args[1].is(Kind::integer) || args[1].integer() < 1)
    return runtime.fail("batch needs a positive number");
  const auto size = static_cast<size_t>(std::min<int64_t>(args[1].integer(), 1 << 20));
  std::vector<Value> out, row;
  for (const Value& item : items_of(runtime, args[0])->items) {
    if (row.size() == size) out.push_back(runtime.make_list(std::exchange(row, {})));
    row.push_back(item);
  }
  const bool fill = !args[2].is(Kind::absent) && !args[2].is(Kind::none);
  if (!row.empty() && fill && runtime.spend_bytes(size * sizeof(Value))) row.resize(size, args[2]);
  if (!row.empty()) out.push_back(runtime.make_list(std::move(row)));
  return runtime.make_list(std::move(out));
}

}  // namespace

namespace detail {

std::span<const Builtin> list_filters() {
  static constexpr Builtin kTable[] = {
      {"length", "", 0, length},
      {"count", "", 0, length},
      {"list", "", 0, list},
      {"first", "", 0, first},
      {"last", "", 0, last},
      {"join", "d,attribute", 0, join},
      {"reverse", "", 0, reverse},
      {"sort", "reverse,case_sensitive,attribute", 0, sort},
      {"dictsort", "case_sensitive,by,reverse", 0, dictsort},
      {"unique", "case_sensitive,attribute", 0, unique},
      {"min", "case_sensitive,attribute", 0, extreme<-1>},
      {"max", "case_sensitive,attribute", 0, extreme<1>},
      {"sum", "attribute,start", 0, sum},
      {"items", "", 0, items},
      {"batch", "linecount,fill_with", 1, batch},
  };
  return kTable;
}

}  // namespace detail
}  // namespace fathom::jinja
