#include "text/jinja/value.h"

#include <algorithm>

namespace fathom::jinja {
namespace {

constexpr size_t kIndexedFrom = 16;
constexpr size_t kNowhere = SIZE_MAX;

template <class T>
int three_way(T a, T b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) return false;
  return std::ranges::all_of(a.items, [&b](const auto& item) {
    const Value* other = b.find(item.first);
    return other != nullptr && equal(item.second, *other);
  });
}

}  // namespace

Value Value::undefined(std::string_view what) {
  Value value;
  value.data_ = what;
  return value;
}

std::string_view Value::undefined_name() const {
  const auto* name = std::get_if<std::string_view>(&data_);
  return name == nullptr ? std::string_view() : *name;
}

int64_t Value::integer() const {
  return is(Kind::boolean) ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_);
}

double Value::real() const {
  return is(Kind::real) ? std::get<double>(data_) : static_cast<double>(integer());
}

bool Value::truth() const {
  switch (kind_) {
    case Kind::undefined:
    case Kind::absent:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return integer() != 0;
    case Kind::real:
      return real() != 0;
    case Kind::text:
      return !bytes().empty();
    case Kind::list:
      return !list().items.empty();
    case Kind::dict:
      return !dict().items.empty();
    case Kind::space:
    case Kind::loop:
    case Kind::callable:
      return true;
  }
  return false;
}

int Value::depth() const {
  if (is(Kind::list)) return list().depth;
  if (is(Kind::dict)) return dict().depth;
  if (is(Kind::loop)) return loop().items->depth + 1;
  return 0;
}

int64_t Value::weight() const {
  if (is(Kind::text)) return static_cast<int64_t>(bytes().size()) + 1;
  if (is(Kind::list)) return list().weight;
  if (is(Kind::dict)) return dict().weight;
  return 1;
}

size_t Dict::position(std::string_view key) const {
  if (items.size() > kIndexedFrom) {
    const auto found = index_.find(std::string(key));
    return found == index_.end() ? kNowhere : found->second;
  }
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].first.is(Kind::text) && items[i].first.bytes() == key) return i;
  return kNowhere;
}

const Value* Dict::find(std::string_view key) const {
  const size_t at = position(key);
  return at == kNowhere ? nullptr : &items[at].second;
}

const Value* Dict::find(const Value& key) const {
  if (key.is(Kind::text)) return find(key.bytes());
  for (const auto& [name, value] : items)
    if (!name.is(Kind::text) && equal(name, key)) return &value;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  depth = std::max(depth, value.depth() + 1);
  weight += key.weight() + value.weight();
  if (const Value* known = find(key)) {
    items[static_cast<size_t>(
              std::ranges::find_if(items, [known](const auto& i) { return &i.second == known; }) -
              items.begin())]
        .second = std::move(value);
    return;
  }
  items.emplace_back(std::move(key), std::move(value));
  const size_t from = items.size() == kIndexedFrom + 1 ? 0 : items.size() - 1;
  for (size_t i = from; items.size() > kIndexedFrom && i < items.size(); ++i)
    if (items[i].first.is(Kind::text)) index_.emplace(items[i].first.bytes(), i);
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::real) || b.is(Kind::real)) return a.real() == b.real();
    return a.integer() == b.integer();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::text:
      return a.bytes() == b.bytes();
    case Kind::list:
      return a.list().tuple == b.list().tuple &&
             std::ranges::equal(a.list().items, b.list().items, equal);
    case Kind::dict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::space:
      return &a.space() == &b.space();
    case Kind::loop:
      return &a.loop() == &b.loop();
    default:
      return !a.is(Kind::callable);
  }
}

bool order(const Value& a, const Value& b, int& result) {
  if (a.is_number() && b.is_number()) {
    result = a.is(Kind::real) || b.is(Kind::real) ? three_way(a.real(), b.real())
                                                  : three_way(a.integer(), b.integer());
    return true;
  }
  if (a.is(Kind::text) && b.is(Kind::text)) {
    // UTF-8 sorts like its code points.
    result = three_way(a.bytes().compare(b.bytes()), 0);
    return true;
  }
  if (!a.is(Kind::list) || !b.is(Kind::list) || a.list().tuple != b.list().tuple) return false;
  const auto& left = a.list().items;
  const auto& right = b.list().items;
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i)
    if (!equal(left[i], right[i])) return order(left[i], right[i], result);
  result = three_way(left.size(), right.size());
  return true;
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::absent:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::text:
      return "str";
    case Kind::list:
      return value.list().tuple ? "tuple" : "list";
    case Kind::dict:
      return "dict";
    case Kind::space:
      return "namespace";
    case Kind::loop:
      return "loop";
    case Kind::callable:
      return "function";
  }
  return "value";
}

}  // namespace fathom::jinja
