#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <unordered_map>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalize.h"
#include "text/piece_map.h"
#include "text/split.h"
#include "text/tokenizer_file.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::streamoff kLargestFile = 64 << 20;  // Llama 3's file is 17 MB

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return Error{Code::not_found, "the file can not be opened", path};
  const std::streamoff size = in.tellg();
  if (size < 0 || size > kLargestFile) return invalid("the file is larger than 64 MiB", path);
  std::string text(static_cast<size_t>(size), '\0');
  in.seekg(0);
  if (!in.read(text.data(), size)) return Error{Code::data_loss, "the file can not be read", path};
  return text;
}

}  // namespace

struct Tokenizer::State {
  std::vector<NormalizerRule> normalizer;
  bool add_prefix_space = false;
  bool characters = false;  // SentencePiece's kind
  Metaspace metaspace;
  std::unordered_map<char32_t, TokenId> character_tokens;
  std::array<TokenId, 256> byte_tokens{};
  bool strip_space = false;
  std::vector<std::unique_ptr<SplitStage>> stages;
  std::vector<TokenizerFile::Entry> entries;
  std::optional<Bpe> bpe;
  std::optional<PieceMap> pieces;
  AddedTokens raw, normalized;  // looked for before and after the normalizer
  std::unordered_map<std::string_view, TokenId> added_ids;  // views into entries

  // What one call of encode() works with.
  struct Work {
    std::vector<Piece> pieces, cut;
    Bpe::Scratch bpe;
    std::string prefixed;
  };

  Status build_stages(const std::vector<PreTokenizerRule>& rules);
  void build_pieces(bool ignore_merges);
  MarkedText normalize(MarkedText text) const;
  // `first`: the text stands at the very beginning.
  void encode_plain(std::string_view text, bool first, Work& work, std::vector<TokenId>& out) const;
  void encode_characters(std::string_view text, bool first, Work& work,
                         std::vector<TokenId>& out) const;
  void symbols(std::string_view text, std::vector<TokenId>& out) const;
  void encode_pieces(std::string_view text, Work& work, std::vector<TokenId>& out) const;
  void encode_marked(const MarkedText& text, Work& work, std::vector<TokenId>& out) const;
  void encode_part(MarkedText part, bool first, Work& work, std::vector<TokenId>& out) const;
};

Status Tokenizer::State::build_stages(const std::vector<PreTokenizerRule>& rules) {
  for (const PreTokenizerRule& rule : rules) {
    using Kind = PreTokenizerRule::Kind;
    if (rule.kind == Kind::digits) {
      stages.push_back(digits_split(rule.individual_digits));
    } else if (rule.kind == Kind::byte_level) {
      add_prefix_space = rule.add_prefix_space;
      if (rule.use_regex) stages.push_back(known_split(kByteLevelPattern));
    } else {
      const bool plain = rule.split.behavior == SplitBehavior::isolated && !rule.split.invert;
      std::unique_ptr<SplitStage> stage = plain ? known_split(rule.split.pattern) : nullptr;
      if (stage == nullptr) {
        FATHOM_TRY(stage, regex_split(rule.split));
      }
      stages.push_back(std::move(stage));
    }
  }
  return {};
}

// Which pieces are one token? With ignore_merges every plain entry; else those the merges rebuild
// from their bytes, which is tried once here (0.1 s for 128,000 entries) so that most pieces need
// no merging later.
void Tokenizer::State::build_pieces(bool ignore_merges) {
  std::vector<PieceMap::Entry> whole;
  Bpe::Scratch scratch;
  std::vector<TokenId> ids;
  for (size_t id = 0; id < entries.size(); ++id) {
    if (!entries[id].plain) continue;
    ids.clear();
    if (!ignore_merges) bpe->encode(entries[id].bytes, scratch, ids);
    const auto token = static_cast<TokenId>(id);
    if (ignore_merges || (ids.size() == 1 && ids[0] == token))
      whole.push_back({entries[id].bytes, token});
  }
  pieces.emplace(whole);
}

void Tokenizer::State::encode_pieces(std::string_view text, Work& work,
                                     std::vector<TokenId>& out) const {
  work.pieces.assign(1, {0, text.size()});
  for (const auto& stage : stages) {
    work.cut.clear();
    for (const Piece& piece : work.pieces) stage->split(text, piece, work.cut);
    std::swap(work.pieces, work.cut);
  }
  for (const Piece& piece : work.pieces) {
    std::string_view bytes = text.substr(piece.begin, piece.end - piece.begin);
    const TokenId id = pieces->find(bytes);
    if (id >= 0)
      out.push_back(id);
    else
      bpe->encode(bytes, work.bpe, out);
  }
}

// Text without added tokens, normalized.
void Tokenizer::State::encode_plain(std::string_view text, bool first, Work& work,
                                    std::vector<TokenId>& out) const {
  if (text.empty()) return;
  if (characters) return encode_characters(text, first, work, out);
  if (add_prefix_space && text.front() != ' ') {
    work.prefixed.assign(1, ' ').append(text);
    text = work.prefixed;
  }
  encode_pieces(text, work, out);
}

// A part without the tokens that are looked for before the normalizer.
void Tokenizer::State::encode_part(MarkedText part, bool first, Work& work,
                                   std::vector<TokenId>& out) const {
  if (part.bytes.empty()) return;
  // Without tokens to be found in it, the marks no longer matter.
  if (normalized.empty()) part.typed.clear();
  part = normalize(std::move(part));
  std::vector<AddedTokens::Match> matches;
  normalized.find(part.bytes, part.typed, matches);
  const std::string_view text = part.bytes;
  size_t at = 0;
  for (const auto& match : matches) {
    encode_plain(text.substr(at, match.begin - at), first && at == 0, work, out);
    out.push_back(match.id);
    at = match.end;
  }
  encode_plain(text.substr(at), first && at == 0, work, out);
}

void Tokenizer::State::encode_marked(const MarkedText& text, Work& work,
                                     std::vector<TokenId>& out) const {
  std::vector<AddedTokens::Match> matches;
  raw.find(text.bytes, text.typed, matches);
  size_t at = 0;
  for (const auto& match : matches) {
    encode_part(text.slice(at, match.begin), at == 0, work, out);
    out.push_back(match.id);
    at = match.end;
  }
  encode_part(text.slice(at, text.bytes.size()), at == 0, work, out);
}

MarkedText Tokenizer::State::normalize(MarkedText text) const {
  return normalized_text(normalizer, std::move(text));
}

// The symbols that merges begin with: characters, or the bytes of those that have no token.
void Tokenizer::State::symbols(std::string_view text, std::vector<TokenId>& out) const {
  out.clear();
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text.data() + at);
    const auto token = character_tokens.find(c.value);
    if (token != character_tokens.end()) out.push_back(token->second);
    for (size_t i = 0; token == character_tokens.end() && i < c.length; ++i)
      out.push_back(byte_tokens[static_cast<unsigned char>(text[at + i])]);
    at += c.length;
  }
}

void Tokenizer::State::encode_characters(std::string_view text, bool first, Work& work,
                                         std::vector<TokenId>& out) const {
  const std::string& space = metaspace.replacement;
  if (space.empty()) {
    symbols(text, work.bpe.ids);
    return bpe->merge(work.bpe, out);
  }
  using Prepend = Metaspace::Prepend;
  const bool prefix =
      metaspace.prepend == Prepend::always || (metaspace.prepend == Prepend::first && first);
  const bool there = text.starts_with(' ') || text.starts_with(space);
  std::string& spaced = work.prefixed;
  spaced = prefix && !there ? space : "";
  for (const char c : text) {
    if (c == ' ')
      spaced += space;
    else
      spaced += c;
  }
  for (size_t at = 0; at < spaced.size();) {
    const size_t next = metaspace.split ? spaced.find(space, at + 1) : std::string::npos;
    const size_t end = std::min(next, spaced.size());
    symbols(std::string_view(spaced).substr(at, end - at), work.bpe.ids);
    bpe->merge(work.bpe, out);
    at = end;
  }
}

Tokenizer::Tokenizer() : state_(std::make_unique<State>()) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::string& path) {
  FATHOM_TRY(const std::string text, read_file(path));
  return parse(text, path);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view json,
                                                          const std::string& where) {
  FATHOM_TRY(TokenizerFile file, parse_tokenizer_file(json, where));
  const std::shared_ptr<Tokenizer> tokenizer(new Tokenizer());
  State& state = *tokenizer->state_;
  state.normalizer = std::move(file.normalizer);
  state.characters = file.characters;
  state.metaspace = std::move(file.metaspace);
  state.character_tokens = std::move(file.character_tokens);
  state.byte_tokens = file.byte_tokens;
  state.strip_space = file.strip_space;
  if (Status built = state.build_stages(file.pre_tokenizer); !built.ok())
    return Error{built.error().code, "pre_tokenizer: " + built.error().message, where};
  state.entries = std::move(file.entries);
  state.bpe.emplace(file.byte_tokens, file.merges);
  if (!state.characters) state.build_pieces(file.ignore_merges);
  for (AddedToken& token : file.added) {
    state.added_ids.emplace(state.entries[static_cast<size_t>(token.id)].bytes, token.id);
    if (token.normalized) {
      token.content = state.normalize({.bytes = token.content}).bytes;
      if (token.content.empty()) return invalid("an added token is normalized to nothing", where);
    }
    AddedTokens& group = token.normalized ? state.normalized : state.raw;
    group.add(std::move(token));
  }
  return std::shared_ptr<const Tokenizer>(tokenizer);
}

void Tokenizer::encode(std::string_view text, Specials specials, std::vector<TokenId>& out) const {
  if (text.empty()) return;
  std::string repaired;
  if (!is_valid_utf8(text)) {
    append_utf8(text, true, repaired);
    text = repaired;
  }
  State::Work work;
  if (specials == Specials::parse) {
    state_->encode_marked({.bytes = std::string(text)}, work, out);
    return;
  }
  const MarkedText plain = state_->normalize({.bytes = std::string(text)});
  state_->encode_plain(plain.bytes, true, work, out);
}

void Tokenizer::encode(const MarkedText& text, std::vector<TokenId>& out) const {
  CHECK(is_valid_utf8(text.bytes), "a rendering is valid UTF-8");
  State::Work work;
  state_->encode_marked(text, work, out);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string raw;
  for (const TokenId id : ids)
    if (!(skip_special && is_special(id))) raw += bytes(id);
  std::string text;
  text.reserve(raw.size());
  append_utf8(raw, true, text);
  if (state_->strip_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string_view Tokenizer::bytes(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return state_->entries[static_cast<size_t>(id)].bytes;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && id < vocab_size() && state_->entries[static_cast<size_t>(id)].special;
}

bool Tokenizer::is_added(TokenId id) const {
  return id >= 0 && id < vocab_size() && state_->entries[static_cast<size_t>(id)].added;
}

std::optional<TokenId> Tokenizer::find_added(std::string_view content) const {
  const auto found = state_->added_ids.find(content);
  return found == state_->added_ids.end() ? std::nullopt : std::optional(found->second);
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(state_->entries.size()); }

}  // namespace fathom
