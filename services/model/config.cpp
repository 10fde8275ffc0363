#include "model/config.h"

#include <array>
#include <fstream>
#include <sstream>

#include "model/config_keys.h"

namespace fathom {
namespace {

struct Family {
  std::string_view model_type;
  Result<ModelConfig> (*read)(Keys&, ModelConfig);
};
constexpr std::array kFamilies = {Family{"deepseek_v2", read_deepseek_v2},
                                  Family{"deepseek_v3", read_deepseek_v3},
                                  Family{"llama", read_llama}, Family{"qwen2", read_qwen2}};

Error unknown_family(const std::string& type, const std::string& file) {
  std::string served;
  for (const auto& family : kFamilies)
    served += (served.empty() ? "" : ", ") + std::string(family.model_type);
  return {Code::unimplemented,
          "config.json: model_type \"" + type + "\" is not served; served: " + served,
          file + ": model_type"};
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view text, const std::string& file) {
  boost::system::error_code problem;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), problem);
  if (problem) return invalid("not valid JSON: " + problem.message(), file);
  if (!root.is_object()) return invalid("must be a JSON object", file);
  Keys keys(root.get_object(), file);
  ModelConfig c;
  if (!keys.has("model_type")) keys.fail("model_type", "is missing");
  c.model_type = keys.text_or("model_type", "");
  FATHOM_CHECKED(keys.status());
  if (const auto* list = root.get_object().if_contains("architectures"); list && list->is_array()) {
    const auto& names = list->get_array();
    if (!names.empty() && names[0].is_string()) c.architecture = std::string(names[0].get_string());
  }
  for (const auto& family : kFamilies)
    if (family.model_type == c.model_type) return family.read(keys, c);
  return unknown_family(c.model_type, file);
}

Result<ModelConfig> read_model_config(const std::string& dir) {
  const std::string file = dir + "/config.json";
  FATHOM_TRY(const std::string text, read_text_file(file));
  return parse_model_config(text, file);
}

Result<std::string> read_text_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) return Error{Code::not_found, "can not read the file", path};
  return std::move(text).str();
}

}  // namespace fathom
