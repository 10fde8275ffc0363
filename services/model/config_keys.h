// How is one key of config.json read? Strictly, and so that the first complaint is kept: a family
// reads as a list of keys, and asks once at its end whether anything was wrong. Beside it, the keys
// that all families share. Only config*.cpp includes this.
#pragma once

#include <boost/json.hpp>
#include <cmath>
#include <sstream>
#include <string>
#include <string_view>

#include "model/config.h"

namespace fathom {

namespace json = boost::json;

inline constexpr double kSizeMax =
    1 << 24;  // no published dimension comes near; products stay far below 2^63

// Reads keys of one JSON object and keeps the first complaint, so a family reads as a list of keys.
class Keys {
 public:
  Keys(const json::object& object, std::string file, std::string prefix = {})
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  bool has(std::string_view key) const {
    const auto* value = object_.if_contains(key);
    return value != nullptr && !value->is_null();
  }
  const json::object* child(std::string_view key) const {
    const auto* value = object_.if_contains(key);
    return value == nullptr ? nullptr : value->if_object();
  }
  int32_t size(std::string_view key, double least = 1, double most = kSizeMax) {
    const double v = number(key, least, most);
    if (v != std::floor(v)) fail(key, "must be a whole number");
    return static_cast<int32_t>(v);
  }
  int32_t size_or(std::string_view key, int32_t absent, double least = 1) {
    return has(key) ? size(key, least) : absent;
  }
  double number(std::string_view key, double least, double most) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr || value->is_null()) return fail(key, "is missing"), least;
    if (!value->is_number()) return fail(key, "must be a number"), least;
    const double v = value->to_number<double>();
    if (!(v >= least && v <= most)) {
      std::ostringstream text;
      text << "is " << v << ", outside " << least << " to " << most;
      return fail(key, text.str()), least;
    }
    return v;
  }
  double number_or(std::string_view key, double absent, double least, double most) {
    return has(key) ? number(key, least, most) : absent;
  }
  bool flag_or(std::string_view key, bool absent) {
    if (!has(key)) return absent;
    const auto* value = object_.if_contains(key)->if_bool();
    if (value == nullptr) return fail(key, "must be true or false"), absent;
    return *value;
  }
  std::string text_or(std::string_view key, std::string absent) {
    if (!has(key)) return absent;
    const auto* value = object_.if_contains(key)->if_string();
    if (value == nullptr) return fail(key, "must be a string"), absent;
    return std::string(*value);
  }
  void want_text(std::string_view key, std::string_view only) {
    const std::string got = text_or(key, std::string(only));
    if (got != only)
      fail(key, "is \"" + got + "\"; only \"" + std::string(only) + "\" is served",
           Code::unimplemented);
  }
  // Of a list that may be absent.
  void want_each_text(std::string_view key, std::string_view only) {
    if (!has(key)) return;
    const auto* list = object_.if_contains(key)->if_array();
    if (list == nullptr) return fail(key, "must be a list");
    for (const auto& item : *list)
      if (!item.is_string() || item.get_string() != json::string_view(only.data(), only.size()))
        return fail(
            key,
            "holds " + json::serialize(item) + "; only \"" + std::string(only) + "\" is served",
            Code::unimplemented);
  }
  void fail(std::string_view key, const std::string& what, Code code = Code::invalid_argument) {
    if (!status_.ok()) return;
    const std::string name = prefix_ + std::string(key);
    status_ = Error{code, "config.json: " + name + " " + what, file_ + ": " + name};
  }
  void take(Status other) {
    if (status_.ok()) status_ = std::move(other);
  }
  Status status() const { return status_; }
  const std::string& file() const { return file_; }

 private:
  const json::object& object_;
  std::string file_, prefix_;
  Status status_;
};

// vocab_size, hidden_size, depth, context, norm, activation, tied embeddings.
void read_sizes(Keys& keys, ModelConfig& config);
// rope_theta (required when `theta` is 0, else that is the default) and the scaling, in either of
// the places files hold them.
void read_rope(Keys& keys, ModelConfig& config, double theta = 0);
// Refuses kinds of quantisation that can not be read; weights say by their own type what they are.
void check_quantization(Keys& keys);

// The families, one a model_type.
Result<ModelConfig> read_deepseek_v2(Keys& keys, ModelConfig config);
Result<ModelConfig> read_deepseek_v3(Keys& keys, ModelConfig config);
Result<ModelConfig> read_llama(Keys& keys, ModelConfig config);
Result<ModelConfig> read_qwen2(Keys& keys, ModelConfig config);

}  // namespace fathom
