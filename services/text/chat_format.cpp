#include "text/chat_format.h"

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "text/chat_templates.h"

namespace fathom {
namespace {

namespace json = boost::json;

constexpr uintmax_t kLargestConfig = 16 << 20;
constexpr std::string_view kDeepSeekBos = "<｜begin▁of▁sentence｜>";

Result<std::string> read_text(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return Error{Code::not_found, "the file can not be opened", path};
  if (size > kLargestConfig) return invalid("the file is larger than 16 MiB", path);
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{Code::not_found, "the file can not be opened", path};
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// A string, or an added token as an object with `content`.
std::optional<std::string> token_text(const json::object& config, std::string_view key) {
  const json::value* value = config.if_contains({key.data(), key.size()});
  if (value != nullptr && value->is_object()) value = value->get_object().if_contains("content");
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(value->get_string().c_str(), value->get_string().size());
}

// `chat_template` of the config, else the file chat_template.jinja beside it.
Result<std::string> template_text(const json::object& config, const std::string& path) {
  const json::value* value = config.if_contains("chat_template");
  if (value != nullptr && value->is_string())
    return std::string(value->get_string().c_str(), value->get_string().size());
  if (value != nullptr && !value->is_null())
    return Error{Code::unimplemented, "a list of chat templates is not supported",
                 path + ": chat_template"};
  const std::string beside =
      (std::filesystem::path(path).parent_path() / "chat_template.jinja").string();
  Result<std::string> text = read_text(beside);
  if (text.ok()) return text;
  return Error{Code::failed_precondition, "there is no chat_template", path};
}

Result<std::shared_ptr<const ChatFormat>> make(const ChatStyle& style, std::string_view bos,
                                               std::shared_ptr<const Tokenizer> tokenizer) {
  FATHOM_TRY(ChatMarkers markers, ChatMarkers::find(*tokenizer, bos, style.open_thinking));
  if (style.family == ChatFamily::deepseek_v3)
    return make_deepseek_v3(style, std::move(markers), std::move(tokenizer));
  return make_deepseek_r1(style, std::move(markers), std::move(tokenizer));
}

}  // namespace

Result<std::shared_ptr<const ChatFormat>> ChatFormat::load(
    const std::string& tokenizer_config_path, std::shared_ptr<const Tokenizer> tokenizer) {
  FATHOM_TRY(const std::string text, read_text(tokenizer_config_path));
  json::error_code error;
  const json::value config = json::parse(text, error);
  if (error || !config.is_object()) return invalid("not a JSON object", tokenizer_config_path);
  FATHOM_TRY(const std::string source, template_text(config.get_object(), tokenizer_config_path));
  const ChatStyle* style = find_chat_style(template_fingerprint(source));
  if (style == nullptr)
    return Error{Code::unimplemented, "the chat_template is not one of the known templates",
                 tokenizer_config_path};
  const std::optional<std::string> bos = token_text(config.get_object(), "bos_token");
  if (!bos) return invalid("bos_token is missing", tokenizer_config_path + ": bos_token");
  Result<std::shared_ptr<const ChatFormat>> format = make(*style, *bos, std::move(tokenizer));
  if (!format.ok())
    return Error{format.error().code, format.error().message, tokenizer_config_path};
  return format;
}

Result<std::shared_ptr<const ChatFormat>> ChatFormat::named(
    std::string_view name, std::shared_ptr<const Tokenizer> tokenizer) {
  const ChatStyle* style = find_chat_style(name);
  if (style == nullptr)
    return Error{Code::unimplemented, "no chat format is called " + std::string(name),
                 "chat_format"};
  return make(*style, kDeepSeekBos, std::move(tokenizer));
}

}  // namespace fathom
