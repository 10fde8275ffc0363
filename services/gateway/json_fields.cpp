#include "gateway/json_fields.h"

#include <algorithm>

namespace fathom {

namespace json = boost::json;

namespace {

json::string_view as_key(std::string_view key) { return {key.data(), key.size()}; }

std::string number_text(double v) {
  std::string text = std::to_string(v);
  while (text.find('.') != std::string::npos && (text.back() == '0' || text.back() == '.')) {
    const bool dot = text.back() == '.';
    text.pop_back();
    if (dot) break;
  }
  return text;
}

}  // namespace

JsonFields::JsonFields(const json::object& object, std::string path)
    : object_(object), path_(std::move(path)) {}

std::string JsonFields::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void JsonFields::fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

void JsonFields::wrong(std::string_view key, std::string_view must_be) {
  fail(bad_request("'" + path(key) + "' must be " + std::string(must_be), path(key)));
}

const json::value* JsonFields::find(std::string_view key) {
  known_.push_back(key);
  const json::value* value = object_.if_contains(as_key(key));
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool JsonFields::flag(std::string_view key, bool fallback) {
  const json::value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) {
    wrong(key, "true or false");
    return fallback;
  }
  return value->get_bool();
}

std::optional<int64_t> JsonFields::integer(std::string_view key, int64_t least, int64_t most) {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto refuse_it = [&] {
    wrong(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return std::nullopt;
  };
  if (!value->is_int64()) return refuse_it();
  const int64_t number = value->get_int64();
  if (number < least || number > most) return refuse_it();
  return number;
}

std::optional<double> JsonFields::number(std::string_view key, double least, double most) {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double v = value->to_number<double>();
    if (v >= least && v <= most) return v;
  }
  wrong(key, "a number from " + number_text(least) + " to " + number_text(most));
  return std::nullopt;
}

std::optional<std::string> JsonFields::text(std::string_view key) {
  const json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    wrong(key, "a string");
    return std::nullopt;
  }
  const json::string& s = value->get_string();
  return std::string(s.data(), s.size());
}

const json::array* JsonFields::list(std::string_view key) {
  const json::value* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) wrong(key, "a list");
  return value->if_array();
}

const json::object* JsonFields::object(std::string_view key) {
  const json::value* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) wrong(key, "an object");
  return value->if_object();
}

void JsonFields::ignore(std::initializer_list<std::string_view> keys) {
  known_.insert(known_.end(), keys);
}

void JsonFields::refuse(std::initializer_list<std::string_view> keys, std::string_view why) {
  for (const std::string_view key : keys)
    if (has(key))
      fail(unsupported(path(key), "'" + path(key) + "' is not supported: " + std::string(why)));
}

int JsonFields::unknown() const {
  int count = 0;
  for (const auto& entry : object_) {
    const std::string_view key(entry.key().data(), entry.key().size());
    count += std::find(known_.begin(), known_.end(), key) == known_.end();
  }
  return count;
}

}  // namespace fathom
