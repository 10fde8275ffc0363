#include "text/jinja/runtime.h"

#include <algorithm>

namespace fathom::jinja {

Value Runtime::fail(std::string message) {
  if (failed_) return {};
  failed_ = true;
  failed_line_ = line_;
  message_ = std::move(message);
  return {};
}

Value Runtime::raise(std::string message) {
  if (!failed_) raised_ = true;
  return fail(std::move(message));
}

Error Runtime::error() const {
  if (raised_) return invalid(message_);
  return invalid("the chat template failed in line " + std::to_string(failed_line_) + ": " +
                 message_);
}

bool Runtime::spend(int64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) fail("more steps than allowed");
  return !failed_;
}

bool Runtime::spend_bytes(size_t bytes) {
  bytes_ += static_cast<int64_t>(std::min<size_t>(bytes, size_t{1} << 60));
  if (bytes_ > limits_.bytes) fail("more memory than allowed");
  return !failed_;
}

bool Runtime::enter() {
  if (++depth_ > limits_.depth) fail("nested too deeply");
  return !failed_;
}

Value Runtime::make_text(MarkedText text) {
  if (!spend_bytes(text.bytes.size() + 64)) return {};
  return text;
}

Value Runtime::make_list(std::vector<Value> items, bool tuple) {
  if (!spend_bytes(items.size() * sizeof(Value) + 64)) return {};
  auto list = std::make_shared<List>();
  for (const Value& item : items) {
    list->depth = std::max(list->depth, item.depth() + 1);
    list->weight += item.weight();
  }
  if (list->weight > limits_.bytes) return fail("more memory than allowed");
  if (list->depth > limits_.value_depth) return fail("lists nested too deeply");
  list->items = std::move(items);
  list->tuple = tuple;
  return ListPtr(std::move(list));
}

Value Runtime::make_dict(Dict dict) {
  if (!spend_bytes(dict.items.size() * 2 * sizeof(Value) + 64)) return {};
  if (dict.weight > limits_.bytes) return fail("more memory than allowed");
  if (dict.depth > limits_.value_depth) return fail("dicts nested too deeply");
  return DictPtr(std::make_shared<Dict>(std::move(dict)));
}

Value Runtime::make_space(Dict fields) {
  if (!spend_bytes(fields.items.size() * 2 * sizeof(Value) + 64)) return {};
  spaces_.push_back(std::make_unique<Space>(Space{std::move(fields)}));
  return spaces_.back().get();
}

}  // namespace fathom::jinja
