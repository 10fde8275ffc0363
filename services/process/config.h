// How does a process learn its settings? From one YAML (or JSON) file, strictly: an unknown key, a
// wrong type or a value out of range is an error naming the key. A config is a plain struct with
// defaults inline and one `fields` visitor:
//   struct RouterConfig {
//     std::string listen = "0.0.0.0:7000";
//     template <class V> void fields(V& v) { v("listen", listen, "address of the gRPC service"); }
//   };
// Nested structs with their own `fields`, std::vector of either, integers, doubles, bools and
// strings work.
#pragma once

#include <yaml-cpp/yaml.h>

#include <concepts>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace fathom {

namespace config_detail {

struct Probe {
  template <class T>
  void operator()(std::string_view, T&, std::string_view) {}
};
template <class T>
concept Struct = requires(T t, Probe p) { t.fields(p); };
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class T>
Status read_value(const YAML::Node& node, T& out, const std::string& path);

class Reader {
 public:
  Reader(const YAML::Node& node, std::string path) : node_(node), path_(std::move(path)) {}
  template <class T>
  void operator()(std::string_view key, T& out, std::string_view) {
    known_.insert(std::string(key));
    if (!status_.ok()) return;
    const YAML::Node child = node_[std::string(key)];
    if (!child || child.IsNull()) return;
    status_ =
        read_value(child, out, path_.empty() ? std::string(key) : path_ + "." + std::string(key));
  }
  Status finish() const {
    FATHOM_CHECKED(status_);
    for (const auto& entry : node_) {
      if (!entry.first.IsScalar())
        return invalid("the name of a setting must be a word", path_.empty() ? "settings" : path_);
      const auto key = entry.first.as<std::string>();
      if (!known_.contains(key))
        return invalid("unknown setting", path_.empty() ? key : path_ + "." + key);
    }
    return {};
  }

 private:
  const YAML::Node& node_;
  std::string path_;
  std::set<std::string> known_;
  Status status_;
};

template <class T>
Status read_value(const YAML::Node& node, T& out, const std::string& path) {
  if constexpr (Struct<T>) {
    if (!node.IsMap()) return invalid("must be a mapping", path);
    Reader reader(node, path);
    out.fields(reader);
    return reader.finish();
  } else if constexpr (IsVector<T>::value) {
    if (!node.IsSequence()) return invalid("must be a list", path);
    out.clear();
    for (size_t i = 0; i < node.size(); ++i) {
      typename T::value_type item{};
      FATHOM_CHECKED(read_value(node[i], item, path + "[" + std::to_string(i) + "]"));
      out.push_back(std::move(item));
    }
    return {};
  } else {
    const char* want = std::is_same_v<T, bool>       ? "must be true or false"
                       : std::is_integral_v<T>       ? "must be a whole number in range"
                       : std::is_floating_point_v<T> ? "must be a number"
                                                     : "must be a string";
    if (!node.IsScalar()) return invalid(want, path);
    try {
      out = node.as<T>();
    } catch (const YAML::Exception&) {
      return invalid(want, path);
    }
    return {};
  }
}

// Parses the text of a file; errors name `where` when there is no key to name.
Result<YAML::Node> parse_yaml(const std::string& text, const std::string& where);
Result<std::string> read_file(const std::string& path);

}  // namespace config_detail

// Reads settings from text; what the text does not name keeps its default.
template <class T>
Result<T> config_from_text(const std::string& text, const std::string& where = "config") {
  T config;
  FATHOM_TRY(YAML::Node root, config_detail::parse_yaml(text, where));
  if (root.IsNull()) return config;
  FATHOM_CHECKED(config_detail::read_value(root, config, ""));
  return config;
}

// The same from a file.
template <class T>
Result<T> config_from_file(const std::string& path) {
  FATHOM_TRY(std::string text, config_detail::read_file(path));
  return config_from_text<T>(text, path);
}

}  // namespace fathom
