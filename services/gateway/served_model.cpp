#include "gateway/served_model.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "process/log.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

Result<json::object> read_object(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return invalid("can not be read", path.string());
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) return invalid("is not JSON: " + error.message(), path.string());
  if (!value.is_object()) return invalid("is not a JSON object", path.string());
  return std::move(value.get_object());
}

// What the file says if it is there; an empty object if it is not.
Result<json::object> read_if_there(const fs::path& path) {
  if (!fs::exists(path)) return json::object{};
  return read_object(path);
}

std::vector<TokenId> ids_of(const json::object& object, std::string_view key) {
  std::vector<TokenId> out;
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  if (value == nullptr) return out;
  if (value->is_int64()) out.push_back(static_cast<TokenId>(value->get_int64()));
  if (const json::array* list = value->if_array())
    for (const json::value& item : *list)
      if (item.is_int64()) out.push_back(static_cast<TokenId>(item.get_int64()));
  return out;
}

int32_t number_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value != nullptr && value->is_int64() ? static_cast<int32_t>(value->get_int64()) : 0;
}

// Chat models often end their turns with the tokenizer's end token and not with the model's.
void add_end_of_turn(const json::object& tokenizer_config, ServedModel& out) {
  const json::value* token = tokenizer_config.if_contains("eos_token");
  if (token != nullptr && token->is_object()) token = token->get_object().if_contains("content");
  if (token == nullptr || !token->is_string()) return;
  const json::string& text = token->get_string();
  const auto id = out.tokenizer->find_added({text.data(), text.size()});
  if (id && std::find(out.eos.begin(), out.eos.end(), *id) == out.eos.end()) out.eos.push_back(*id);
}

Status load_chat(const fs::path& settings, ServedModel& out) {
  auto chat = ChatFormat::load(settings.string(), out.tokenizer);
  if (chat.ok()) {
    out.chat = std::move(chat).value();
    return {};
  }
  // Completions and token ids need no chat format, so the model is served without one.
  const Error& error = chat.error();
  if (error.code == Code::failed_precondition) {
    out.chat_missing = "this model's checkpoint has no chat template";
    return {};
  }
  if (error.code != Code::unimplemented) return error;
  out.chat_missing = "this model's chat template can not be rendered: " + error.message;
  log_warning("chat is not served", {{"reason", error.message}, {"file", error.field}});
  return {};
}

// `own_eos`: the end tokens are the checkpoint's, not the operator's.
Status load_text(const fs::path& directory, const json::object& config, bool own_eos,
                 ServedModel& out) {
  const fs::path file = directory / "tokenizer.json";
  FATHOM_TRY(out.tokenizer, Tokenizer::load(file.string()));
  if (out.vocab > 0 && out.tokenizer->vocab_size() > out.vocab)
    return invalid("has " + std::to_string(out.tokenizer->vocab_size()) +
                       " tokens but the model's vocab_size is " + std::to_string(out.vocab),
                   file.string());
  const fs::path settings = directory / "tokenizer_config.json";
  FATHOM_TRY(const json::object tokenizer_config, read_if_there(settings));
  const json::value* add_bos = tokenizer_config.if_contains("add_bos_token");
  const auto bos = ids_of(config, "bos_token_id");
  if (!bos.empty() && (add_bos == nullptr || (add_bos->is_bool() && add_bos->get_bool())))
    out.bos = bos.front();
  if (own_eos) add_end_of_turn(tokenizer_config, out);
  return load_chat(settings, out);
}

}  // namespace

Result<ServedModel> ServedModel::load(const std::string& directory,
                                      const std::vector<TokenId>& eos) {
  ServedModel out{
      .chat_missing = "this model has no tokenizer files; send token ids to /v1/completions",
      .eos = eos};
  if (directory.empty()) return out;
  if (!fs::is_directory(directory)) return invalid("is not a directory", directory);
  FATHOM_TRY(const json::object config, read_if_there(fs::path(directory) / "config.json"));
  FATHOM_TRY(const json::object generation,
             read_if_there(fs::path(directory) / "generation_config.json"));
  out.vocab = number_of(config, "vocab_size");
  out.context_max = number_of(config, "max_position_embeddings");
  if (out.eos.empty()) out.eos = ids_of(generation, "eos_token_id");
  if (out.eos.empty()) out.eos = ids_of(config, "eos_token_id");
  if (fs::exists(fs::path(directory) / "tokenizer.json"))
    FATHOM_CHECKED(load_text(directory, config, eos.empty(), out));
  return out;
}

}  // namespace fathom
