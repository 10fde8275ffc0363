// Is every key of this JSON object accounted for? Objects of tokenizer.json, read so that what is
// not understood is an error naming its key. Only the readers of that file include this.
#pragma once

#include <algorithm>
#include <boost/json.hpp>
#include <initializer_list>
#include <string>
#include <string_view>

#include "text/tokenizer_file.h"

namespace fathom::tokenizer_json {

namespace json = boost::json;

inline std::string_view view(const json::string& text) { return {text.data(), text.size()}; }
inline std::string quoted(std::string_view key, const json::value& value) {
  std::string text = json::serialize(value);
  if (text.size() > 120) text = text.substr(0, 120) + "...";
  return std::string(key) + " = " + text;
}
inline Error unsupported(std::string_view key_and_value) {
  return {Code::unimplemented, "not supported: " + std::string(key_and_value), {}};
}
inline Error malformed(std::string what) { return {Code::invalid_argument, std::move(what), {}}; }

// One JSON object whose keys are all accounted for. `path` names it in errors.
class Fields {
 public:
  static Result<Fields> of(const json::value& value, std::string path,
                           std::initializer_list<std::string_view> known) {
    if (!value.is_object()) return malformed(path + " is not an object");
    for (const auto& member : value.get_object()) {
      const std::string_view key(member.key().data(), member.key().size());
      if (std::find(known.begin(), known.end(), key) == known.end())
        return unsupported("key " + path + "." + std::string(key));
    }
    return Fields(value.get_object(), std::move(path));
  }
  std::string name(std::string_view key) const { return path_ + "." + std::string(key); }
  const json::value* find(std::string_view key) const {
    return object_->if_contains({key.data(), key.size()});
  }
  Result<bool> boolean(std::string_view key, bool otherwise) const {
    const json::value* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_bool()) return malformed(name(key) + " is not a boolean");
    return value->get_bool();
  }
  Result<std::string> string(std::string_view key) const {
    const json::value* value = find(key);
    if (value == nullptr || !value->is_string()) return malformed(name(key) + " is not a string");
    return std::string(view(value->get_string()));
  }
  Result<const json::array*> array(std::string_view key) const {
    const json::value* value = find(key);
    if (value == nullptr || !value->is_array()) return malformed(name(key) + " is not a list");
    return &value->get_array();
  }
  // Refuses any value but null, absence and those given.
  Status only(std::string_view key, std::initializer_list<json::value> allowed) const {
    const json::value* value = find(key);
    if (value == nullptr || value->is_null()) return {};
    for (const json::value& option : allowed)
      if (*value == option) return {};
    return unsupported(quoted(name(key), *value));
  }

 private:
  Fields(const json::object& object, std::string path) : object_(&object), path_(std::move(path)) {}
  const json::object* object_;
  std::string path_;
};

inline std::string type_of(const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  return type != nullptr && type->is_string() ? std::string(view(type->get_string()))
                                              : std::string();
}

inline bool absent(const json::value* value) { return value == nullptr || value->is_null(); }

// tokenizer_stages.cpp: what stands around the model. Each fills its part of the file.
Status read_normalizer(const json::value& value, const std::string& path, TokenizerFile& file);
Status read_pre_tokenizer(const json::value* value, TokenizerFile& file);
Status check_post_processor(const json::value& value, const std::string& path);
Status read_decoder(const json::value* value, TokenizerFile& file);

}  // namespace fathom::tokenizer_json
