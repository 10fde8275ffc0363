#include "text/chat_format.h"

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "text/chat_template.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr uintmax_t kLargestConfig = 16 << 20;

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

Result<std::string> read_text(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return Error{Code::not_found, "the file can not be opened", path.string()};
  if (size > kLargestConfig) return invalid("the file is larger than 16 MiB", path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{Code::not_found, "the file can not be opened", path.string()};
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Result<json::value> read_object(const fs::path& path) {
  FATHOM_TRY(const std::string text, read_text(path));
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return invalid("not a JSON object", path.string());
  return value;
}

// The special tokens of the config: strings, or added tokens as objects with `content`.
ChatTokens tokens_of(const json::object& config) {
  ChatTokens tokens;
  for (const auto& member : config) {
    const std::string_view key(member.key().data(), member.key().size());
    const json::value* value = &member.value();
    if (!key.ends_with("_token")) continue;
    if (value->is_object()) value = value->get_object().if_contains("content");
    if (value != nullptr && value->is_string())
      tokens.emplace(key, std::string(view(value->get_string())));
  }
  return tokens;
}

struct Source {
  std::string text;
  std::string where;
};

// A template, or of a list of named ones that called "default".
Result<Source> template_in(const json::value& value, const std::string& where) {
  if (value.is_string()) return Source{std::string(view(value.get_string())), where};
  const json::array* list = value.if_array();
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const json::object* named = (*list)[i].if_object();
    const json::value* name = named == nullptr ? nullptr : named->if_contains("name");
    const json::value* text = named == nullptr ? nullptr : named->if_contains("template");
    if (name != nullptr && text != nullptr && text->is_string() && *name == "default")
      return Source{std::string(view(text->get_string())), where};
  }
  return invalid("neither a template nor a list with one named default", where);
}

// Hugging Face's order: the file chat_template.jinja, the config's key, the file
// chat_template.json.
Result<Source> find_template(const json::object& config, const fs::path& config_path) {
  const fs::path folder = config_path.parent_path();
  const fs::path beside = folder / "chat_template.jinja";
  if (fs::exists(beside)) {
    FATHOM_TRY(std::string text, read_text(beside));
    return Source{std::move(text), beside.string()};
  }
  const json::value* value = config.if_contains("chat_template");
  if (value != nullptr && !value->is_null())
    return template_in(*value, config_path.string() + ": chat_template");
  const fs::path wrapped = folder / "chat_template.json";
  if (fs::exists(wrapped)) {
    FATHOM_TRY(const json::value file, read_object(wrapped));
    if (const json::value* inner = file.get_object().if_contains("chat_template"))
      return template_in(*inner, wrapped.string() + ": chat_template");
  }
  return Error{Code::failed_precondition, "there is no chat_template", config_path.string()};
}

}  // namespace

Result<std::shared_ptr<const ChatFormat>> ChatFormat::load(
    const std::string& tokenizer_config_path, std::shared_ptr<const Tokenizer> tokenizer) {
  json::value config = json::object();
  if (fs::exists(tokenizer_config_path)) {
    FATHOM_TRY(config, read_object(tokenizer_config_path));
  }
  FATHOM_TRY(const Source source, find_template(config.get_object(), tokenizer_config_path));
  Result<std::shared_ptr<const ChatFormat>> format =
      parse(source.text, tokens_of(config.get_object()), std::move(tokenizer));
  if (!format.ok())
    return Error{format.error().code, format.error().message,
                 source.where + ", " + format.error().field};
  return format;
}

Result<std::shared_ptr<const ChatFormat>> ChatFormat::parse(
    std::string_view source, std::map<std::string, std::string> tokens,
    std::shared_ptr<const Tokenizer> tokenizer) {
  return TemplateChat::make(source, std::move(tokens), std::move(tokenizer));
}

}  // namespace fathom
