// Is this JSON object what its fields should be? Fields are asked for by name and type; explicit
// null is absent; the first wrong one is remembered with its path, and what was never asked for is
// counted as unknown.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/api_error.h"

namespace fathom {

class JsonFields {
 public:
  // Paths in errors are `path` + "." + key, or the key alone.
  JsonFields(const boost::json::object& object, std::string path = {});

  const boost::json::value* find(std::string_view key);  // null pointer when absent or null
  bool has(std::string_view key) { return find(key) != nullptr; }
  bool flag(std::string_view key, bool fallback);
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  std::optional<double> number(std::string_view key, double least, double most);
  std::optional<std::string> text(std::string_view key);
  const boost::json::array* list(std::string_view key);
  const boost::json::object* object(std::string_view key);
  void ignore(std::initializer_list<std::string_view> keys);  // known, without effect
  void refuse(std::initializer_list<std::string_view> keys, std::string_view why);  // unless absent

  void fail(ApiError error);  // the first one stays
  void wrong(std::string_view key, std::string_view must_be);
  std::string path(std::string_view key) const;
  bool ok() const { return !error_; }
  const std::optional<ApiError>& error() const { return error_; }
  int unknown() const;  // fields nobody asked for

 private:
  const boost::json::object& object_;
  std::string path_;
  std::vector<std::string_view> known_;
  std::optional<ApiError> error_;
};

}  // namespace fathom
