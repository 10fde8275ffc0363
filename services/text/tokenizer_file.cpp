#include "text/tokenizer_file.h"

#include <algorithm>
#include <optional>

#include "text/byte_alphabet.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using namespace tokenizer_json;

constexpr int64_t kLargestId =
    (1 << 22) - 1;  // 4 Mi rows: no model is near it, and a bad file stays small
constexpr size_t kLongestToken = 1 << 16;

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

// "<0x0A>".
std::string fallback_name(unsigned char byte) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  return std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">";
}

// An entry of SentencePiece's kind: text with a visible space, or one byte.
void add_character_entry(std::string_view key, TokenId id, TokenizerFile& file) {
  std::string bytes;
  for (size_t at = 0; at < key.size();) {
    const size_t hit = std::min(key.find(file.space, at), key.size());
    bytes += key.substr(at, hit - at);
    if (hit < key.size()) bytes += ' ';
    at = hit + file.space.size();
  }
  for (int byte = 0; key.size() == 6 && key.starts_with("<0x") && byte < 256; ++byte)
    if (key == fallback_name(static_cast<unsigned char>(byte)))
      bytes.assign(1, static_cast<char>(byte));
  file.entries[static_cast<size_t>(id)] = {.bytes = std::move(bytes), .exists = true};
  if (is_valid_utf8(key) && code_point(key.data()).length == key.size())
    file.character_tokens[code_point(key.data()).value] = id;
}

Status read_vocab(const json::object& vocab, TokenizerFile& file) {
  for (const auto& member : vocab) {
    const std::string_view key(member.key().data(), member.key().size());
    const std::string path = "model.vocab[\"" + std::string(key.substr(0, 80)) + "\"]";
    FATHOM_TRY(const TokenId id, read_id(member.value(), path));
    if (key.empty() || key.size() > kLongestToken) return malformed(path + " is empty or too long");
    TokenizerFile::Entry& entry = entry_at(file, id);
    if (entry.exists) return malformed(path + " has the id of another entry");
    if (file.characters) {
      add_character_entry(key, id, file);
      continue;
    }
    std::optional<std::string> bytes = bytes_of_entry(key);
    entry = {.bytes = bytes ? std::move(*bytes) : std::string(key),
             .exists = true,
             .plain = bytes.has_value()};
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<unsigned char>(byte);
    const std::string name = file.characters ? fallback_name(value) : entry_of_byte(value);
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
  FATHOM_TRY(const bool byte_fallback, fields.boolean("byte_fallback", false));
  if (byte_fallback != file.characters)
    return unsupported(std::string("model.byte_fallback = ") + (byte_fallback ? "true" : "false") +
                       " with this decoder");
  // With a token for every byte nothing is ever unknown.
  if (!byte_fallback) FATHOM_CHECKED(fields.only("unk_token", {}));
  FATHOM_CHECKED(fields.only("continuing_subword_prefix", {""}));
  FATHOM_CHECKED(fields.only("end_of_word_suffix", {""}));
  if (!byte_fallback) FATHOM_CHECKED(fields.only("fuse_unk", {false}));
  FATHOM_TRY(file.ignore_merges, fields.boolean("ignore_merges", false));
  if (file.ignore_merges && file.characters)
    return unsupported("model.ignore_merges = true with byte_fallback");
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
  for (const auto& character : file.character_tokens)
    if (added(character.second))
      return unsupported("added token " + std::to_string(character.second) +
                         " that is the token of a character");
  for (const Merge& merge : file.merges)
    if (added(merge.result))
      return unsupported("added token " + std::to_string(merge.result) + " that merges produce");
  return {};
}

// A space becomes three bytes in published files; rules that multiply each other would not end.
Status check_growth(const std::vector<NormalizerRule>& rules) {
  size_t growth = 1;
  for (const NormalizerRule& rule : rules) {
    if (rule.kind == NormalizerRule::Kind::replace)
      growth *= std::max<size_t>(1, (rule.to.size() + rule.from.size() - 1) / rule.from.size());
    if (growth > 16 || rule.to.size() > 64 || rules.size() > 16)
      return unsupported("normalizer that makes texts much longer");
  }
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
  FATHOM_CHECKED(check_growth(file.normalizer));
  FATHOM_CHECKED(read_decoder(fields.find("decoder"), file));
  FATHOM_CHECKED(read_pre_tokenizer(fields.find("pre_tokenizer"), file));
  const auto* post_processor = fields.find("post_processor");
  if (!absent(post_processor))
    FATHOM_CHECKED(check_post_processor(*post_processor, "post_processor"));
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
