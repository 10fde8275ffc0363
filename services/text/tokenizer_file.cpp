#include "text/tokenizer_file.h"

#include <algorithm>
#include <boost/json.hpp>
#include <initializer_list>
#include <optional>

#include "text/byte_alphabet.h"

namespace fathom {
namespace {

namespace json = boost::json;

constexpr int64_t kLargestId =
    (1 << 22) - 1;  // 4 Mi rows: no model is near it, and a bad file stays small
constexpr size_t kLongestToken = 1 << 16;

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }
std::string quoted(std::string_view key, const json::value& value) {
  std::string text = json::serialize(value);
  if (text.size() > 120) text = text.substr(0, 120) + "...";
  return std::string(key) + " = " + text;
}
Error unsupported(std::string_view key_and_value) {
  return {Code::unimplemented, "not supported: " + std::string(key_and_value), {}};
}
Error malformed(std::string what) { return {Code::invalid_argument, std::move(what), {}}; }

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

std::string type_of(const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  return type != nullptr && type->is_string() ? std::string(view(type->get_string()))
                                              : std::string();
}

bool absent(const json::value* value) { return value == nullptr || value->is_null(); }

Status read_normalizer(const json::value& value, const std::string& path, TokenizerFile& file) {
  const std::string type = type_of(value);
  if (type == "NFC") {
    FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type"}));
    file.nfc = true;
    return {};
  }
  if (type != "Sequence") return unsupported(quoted(path, value));
  FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type", "normalizers"}));
  FATHOM_TRY(const json::array* list, fields.array("normalizers"));
  for (const json::value& item : *list) {
    if (type_of(item) == "Sequence") return unsupported("a Sequence inside " + path);
    FATHOM_CHECKED(read_normalizer(item, path + ".normalizers[]", file));
  }
  return {};
}

Result<PreTokenizerRule> read_split(const json::value& value, const std::string& path) {
  FATHOM_TRY(const Fields fields,
             Fields::of(value, path, {"type", "pattern", "behavior", "invert"}));
  const json::value* pattern = fields.find("pattern");
  if (pattern == nullptr) return malformed(path + ".pattern is missing");
  FATHOM_TRY(const Fields inner, Fields::of(*pattern, path + ".pattern", {"Regex"}));
  PreTokenizerRule rule;
  FATHOM_TRY(rule.split.pattern, inner.string("Regex"));
  FATHOM_TRY(const std::string behavior, fields.string("behavior"));
  if (behavior != "Isolated" && behavior != "Removed")
    return unsupported(path + ".behavior = \"" + behavior + "\"");
  rule.split.behavior = behavior == "Removed" ? SplitBehavior::removed : SplitBehavior::isolated;
  FATHOM_TRY(rule.split.invert, fields.boolean("invert", false));
  return rule;
}

Result<PreTokenizerRule> read_rule(const json::value& value, const std::string& path) {
  const std::string type = type_of(value);
  PreTokenizerRule rule;
  if (type == "Split") return read_split(value, path);
  if (type == "Digits") {
    FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type", "individual_digits"}));
    rule.kind = PreTokenizerRule::Kind::digits;
    FATHOM_TRY(rule.individual_digits, fields.boolean("individual_digits", false));
    return rule;
  }
  if (type != "ByteLevel") return unsupported(quoted(path, value));
  FATHOM_TRY(const Fields fields,
             Fields::of(value, path, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  rule.kind = PreTokenizerRule::Kind::byte_level;
  FATHOM_TRY(rule.add_prefix_space, fields.boolean("add_prefix_space", true));
  FATHOM_TRY(rule.use_regex, fields.boolean("use_regex", true));
  return rule;
}

Status read_pre_tokenizer(const json::value& value, TokenizerFile& file) {
  const std::string path = "pre_tokenizer";
  if (type_of(value) == "Sequence") {
    FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type", "pretokenizers"}));
    FATHOM_TRY(const json::array* list, fields.array("pretokenizers"));
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string item = path + ".pretokenizers[" + std::to_string(i) + "]";
      FATHOM_TRY(PreTokenizerRule rule, read_rule((*list)[i], item));
      file.pre_tokenizer.push_back(std::move(rule));
    }
  } else {
    FATHOM_TRY(PreTokenizerRule rule, read_rule(value, path));
    file.pre_tokenizer.push_back(std::move(rule));
  }
  // Behind ByteLevel text is in the byte alphabet, where patterns mean something else.
  for (size_t i = 0; i < file.pre_tokenizer.size(); ++i) {
    const bool byte_level = file.pre_tokenizer[i].kind == PreTokenizerRule::Kind::byte_level;
    if (byte_level != (i + 1 == file.pre_tokenizer.size()))
      return unsupported(path + " whose last and only ByteLevel is not at the end");
  }
  if (file.pre_tokenizer.empty()) return unsupported(path + " without ByteLevel");
  // Behind other stages it would prefix every piece.
  if (file.pre_tokenizer.back().add_prefix_space && file.pre_tokenizer.size() > 1)
    return unsupported(path + " with add_prefix_space behind another stage");
  return {};
}

// Post-processors add special tokens or trim offsets; encode() does neither, so known ones are
// accepted.
Status check_post_processor(const json::value& value, const std::string& path) {
  const std::string type = type_of(value);
  if (type == "ByteLevel" || type == "TemplateProcessing") return {};
  if (type != "Sequence") return unsupported(quoted(path, value));
  FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type", "processors"}));
  FATHOM_TRY(const json::array* list, fields.array("processors"));
  for (const json::value& item : *list) {
    if (type_of(item) == "Sequence") return unsupported("a Sequence inside " + path);
    FATHOM_CHECKED(check_post_processor(item, path + ".processors[]"));
  }
  return {};
}

Result<TokenId> read_id(const json::value& value, const std::string& path) {
  const int64_t* id = value.if_int64();
  if (id == nullptr || *id < 0 || *id > kLargestId)
    return malformed(path + " is not a token id (0.." + std::to_string(kLargestId) + ")");
  return static_cast<TokenId>(*id);
}

TokenizerFile::Entry& entry_at(TokenizerFile& file, TokenId id) {
  const auto index = static_cast<size_t>(id);
  if (index >= file.entries.size()) file.entries.resize(index + 1);
  return file.entries[index];
}

Status read_vocab(const json::object& vocab, TokenizerFile& file) {
  for (const auto& member : vocab) {
    const std::string_view key(member.key().data(), member.key().size());
    const std::string path = "model.vocab[\"" + std::string(key.substr(0, 80)) + "\"]";
    FATHOM_TRY(const TokenId id, read_id(member.value(), path));
    if (key.empty() || key.size() > kLongestToken) return malformed(path + " is empty or too long");
    TokenizerFile::Entry& entry = entry_at(file, id);
    if (entry.exists) return malformed(path + " has the id of another entry");
    std::optional<std::string> bytes = bytes_of_entry(key);
    entry = {.bytes = bytes ? std::move(*bytes) : std::string(key),
             .exists = true,
             .plain = bytes.has_value()};
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string name = entry_of_byte(static_cast<unsigned char>(byte));
    const json::value* id = vocab.if_contains({name.data(), name.size()});
    if (id == nullptr)
      return malformed("model.vocab has no entry \"" + name + "\" for byte " +
                       std::to_string(byte));
    file.byte_tokens[byte] = static_cast<TokenId>(id->get_int64());
  }
  return {};
}

// The two parts of a merge: "a b" or ["a", "b"].
std::optional<std::pair<std::string_view, std::string_view>> merge_parts(const json::value& value) {
  if (const json::array* pair = value.if_array()) {
    if (pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
      return std::nullopt;
    return {{view((*pair)[0].get_string()), view((*pair)[1].get_string())}};
  }
  if (!value.is_string()) return std::nullopt;
  const std::string_view line = view(value.get_string());
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
    return std::nullopt;
  return {{line.substr(0, space), line.substr(space + 1)}};
}

Status read_merges(const json::array& merges, const json::object& vocab, TokenizerFile& file) {
  const auto id_of = [&vocab](std::string_view key) -> TokenId {
    const json::value* id = vocab.if_contains({key.data(), key.size()});
    return id == nullptr ? -1 : static_cast<TokenId>(id->get_int64());
  };
  file.merges.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string path = "model.merges[" + std::to_string(i) + "]";
    const auto parts = merge_parts(merges[i]);
    if (!parts) return malformed(path + " is not a pair of tokens");
    joined.assign(parts->first).append(parts->second);
    const Merge merge{id_of(parts->first), id_of(parts->second), id_of(joined)};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0)
      return malformed(path + " names a token that is not in model.vocab");
    file.merges.push_back(merge);
  }
  return {};
}

Status read_model(const json::value& value, TokenizerFile& file) {
  FATHOM_TRY(
      const Fields fields,
      Fields::of(value, "model",
                 {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  FATHOM_TRY(const std::string type, fields.string("type"));
  if (type != "BPE") return unsupported("model.type = \"" + type + "\"");
  FATHOM_CHECKED(fields.only("dropout", {0, 0.0}));
  FATHOM_CHECKED(fields.only("unk_token", {}));
  FATHOM_CHECKED(fields.only("continuing_subword_prefix", {""}));
  FATHOM_CHECKED(fields.only("end_of_word_suffix", {""}));
  FATHOM_CHECKED(fields.only("fuse_unk", {false}));
  FATHOM_CHECKED(fields.only("byte_fallback", {false}));
  FATHOM_TRY(file.ignore_merges, fields.boolean("ignore_merges", false));
  const json::value* vocab = fields.find("vocab");
  if (vocab == nullptr || !vocab->is_object()) return malformed("model.vocab is not an object");
  FATHOM_TRY(const json::array* merges, fields.array("merges"));
  FATHOM_CHECKED(read_vocab(vocab->get_object(), file));
  return read_merges(*merges, vocab->get_object(), file);
}

Status read_added(const json::value& value, const std::string& path, const json::object& vocab,
                  TokenizerFile& file) {
  FATHOM_TRY(const Fields fields, Fields::of(value, path,
                                             {"id", "content", "single_word", "lstrip", "rstrip",
                                              "normalized", "special"}));
  const json::value* id = fields.find("id");
  if (id == nullptr) return malformed(path + ".id is missing");
  AddedToken token;
  FATHOM_TRY(token.id, read_id(*id, path + ".id"));
  FATHOM_TRY(token.content, fields.string("content"));
  FATHOM_TRY(token.special, fields.boolean("special", false));
  FATHOM_TRY(token.normalized, fields.boolean("normalized", !token.special));
  FATHOM_TRY(token.single_word, fields.boolean("single_word", false));
  FATHOM_TRY(token.lstrip, fields.boolean("lstrip", false));
  FATHOM_TRY(token.rstrip, fields.boolean("rstrip", false));
  if (token.content.empty() || token.content.size() > kLongestToken)
    return malformed(path + ".content is empty or too long");
  const json::value* known = vocab.if_contains({token.content.data(), token.content.size()});
  TokenizerFile::Entry& entry = entry_at(file, token.id);
  const bool same = known != nullptr && known->get_int64() == token.id;
  if (entry.added || (entry.exists && !same) || (known != nullptr && !same))
    return malformed(path + ".id contradicts model.vocab or another added token");
  entry = {.bytes = token.content,
           .exists = true,
           .plain = false,
           .added = true,
           .special = token.special};
  file.added.push_back(std::move(token));
  return {};
}

// as_text promises that text never becomes an added token, so no byte and no merge may be one.
Status check_unreachable(const TokenizerFile& file) {
  const auto added = [&file](TokenId id) { return file.entries[static_cast<size_t>(id)].added; };
  for (const TokenId id : file.byte_tokens)
    if (added(id))
      return unsupported("added token " + std::to_string(id) + " that is the token of a byte");
  for (const Merge& merge : file.merges)
    if (added(merge.result))
      return unsupported("added token " + std::to_string(merge.result) + " that merges produce");
  return {};
}

Result<TokenizerFile> read(const json::value& root) {
  FATHOM_TRY(const Fields fields,
             Fields::of(root, "tokenizer",
                        {"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"}));
  TokenizerFile file;
  FATHOM_CHECKED(fields.only("version", {"1.0"}));
  FATHOM_CHECKED(fields.only("truncation", {}));
  FATHOM_CHECKED(fields.only("padding", {}));
  const auto* normalizer = fields.find("normalizer");
  if (!absent(normalizer)) FATHOM_CHECKED(read_normalizer(*normalizer, "normalizer", file));
  const auto* pre_tokenizer = fields.find("pre_tokenizer");
  if (absent(pre_tokenizer)) return unsupported("pre_tokenizer without ByteLevel");
  FATHOM_CHECKED(read_pre_tokenizer(*pre_tokenizer, file));
  const auto* post_processor = fields.find("post_processor");
  if (!absent(post_processor))
    FATHOM_CHECKED(check_post_processor(*post_processor, "post_processor"));
  const auto* decoder = fields.find("decoder");
  if (absent(decoder) || type_of(*decoder) != "ByteLevel")
    return unsupported(decoder == nullptr ? "decoder is missing" : quoted("decoder", *decoder));
  const auto* model = fields.find("model");
  if (model == nullptr) return malformed("model is missing");
  FATHOM_CHECKED(read_model(*model, file));
  if (!absent(fields.find("added_tokens"))) {
    FATHOM_TRY(const json::array* added, fields.array("added_tokens"));
    const json::object& vocab = model->get_object().at("vocab").get_object();
    for (size_t i = 0; i < added->size(); ++i)
      FATHOM_CHECKED(
          read_added((*added)[i], "added_tokens[" + std::to_string(i) + "]", vocab, file));
  }
  FATHOM_CHECKED(check_unreachable(file));
  return file;
}

}  // namespace

Result<TokenizerFile> parse_tokenizer_file(std::string_view text, const std::string& where) {
  json::error_code error;
  json::monotonic_resource memory;
  const json::value root = json::parse({text.data(), text.size()}, error, &memory);
  if (error) return Error{Code::invalid_argument, "not JSON: " + error.message(), where};
  Result<TokenizerFile> file = read(root);
  if (!file.ok()) return Error{file.error().code, file.error().message, where};
  return file;
}

}  // namespace fathom
