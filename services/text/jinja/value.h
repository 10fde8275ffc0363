// What can a template compute with? Python's values as far as chat templates see them: undefined,
// none, booleans, integers of 64 bits, floats, text, lists, tuples, dicts, namespaces. All but
// namespaces never change, so copies are cheap and literals are shared between renderings.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/marked_text.h"

namespace fathom::jinja {

struct List;
struct Dict;
struct Space;
struct Loop;
using TextPtr = std::shared_ptr<const MarkedText>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using LoopPtr = std::shared_ptr<const Loop>;

enum class Kind : uint8_t {
  undefined,
  absent,  // an argument that was not given
  none,
  boolean,
  integer,
  real,
  text,
  list,  // or a tuple
  dict,
  space,
  loop,
  callable,  // a macro or a method that is looked at, not called
};

class Value {
 public:
  Value() = default;
  Value(bool v) : kind_(Kind::boolean), data_(v) {}
  Value(int64_t v) : kind_(Kind::integer), data_(v) {}
  Value(double v) : kind_(Kind::real), data_(v) {}
  Value(MarkedText v)
      : kind_(Kind::text), data_(TextPtr(std::make_shared<MarkedText>(std::move(v)))) {}
  Value(TextPtr v) : kind_(Kind::text), data_(std::move(v)) {}
  Value(ListPtr v) : kind_(Kind::list), data_(std::move(v)) {}
  Value(DictPtr v) : kind_(Kind::dict), data_(std::move(v)) {}
  Value(LoopPtr v) : kind_(Kind::loop), data_(std::move(v)) {}
  Value(Space* v) : kind_(Kind::space), data_(v) {}
  Value(const char*) = delete;
  static Value none() { return Value(Kind::none); }
  static Value absent() { return Value(Kind::absent); }
  static Value callable() { return Value(Kind::callable); }
  static Value trusted(std::string_view text) { return MarkedText{.bytes = std::string(text)}; }
  // `what` outlives the rendering; it is for messages only.
  static Value undefined(std::string_view what);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return is(Kind::boolean) || is(Kind::integer) || is(Kind::real); }
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const;  // of an integer or a boolean
  double real() const;      // of any number
  const MarkedText& text() const { return *std::get<TextPtr>(data_); }
  std::string_view bytes() const { return text().bytes; }
  const List& list() const { return *std::get<ListPtr>(data_); }
  const ListPtr& list_ptr() const { return std::get<ListPtr>(data_); }
  const Dict& dict() const { return *std::get<DictPtr>(data_); }
  const Loop& loop() const { return *std::get<LoopPtr>(data_); }
  Space& space() const { return *std::get<Space*>(data_); }
  std::string_view undefined_name() const;

  bool truth() const;
  int depth() const;  // of nested lists and dicts
  // About how many bytes it is when written out, shared parts counted each time.
  int64_t weight() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  Kind kind_ = Kind::undefined;
  std::variant<std::monostate, bool, int64_t, double, TextPtr, ListPtr, DictPtr, LoopPtr, Space*,
               std::string_view>
      data_;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
  int64_t weight = 1;
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in the order of insertion
  int depth = 1;
  int64_t weight = 1;

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
  void set(Value key, Value value);

 private:
  // Of text keys, once there are many: hostile dicts must not make look-ups quadratic.
  std::unordered_map<std::string, size_t> index_;
  size_t position(std::string_view key) const;
};

// What namespace() makes: the only thing a template can change.
struct Space {
  Dict fields;
};

// The variable `loop`.
struct Loop {
  ListPtr items;
  size_t index = 0;
};

// Python's == and <. `order` is negative, zero or positive; nothing where Python raises TypeError.
bool equal(const Value& a, const Value& b);
bool order(const Value& a, const Value& b, int& result);

// "str", "NoneType" and so on, for messages.
std::string_view type_name(const Value& value);

}  // namespace fathom::jinja
