#include "text/tokenizer_json.h"

namespace fathom::tokenizer_json {

namespace {

// {"pattern": {"String": from}, "content": to}
Status read_replace(const json::value& value, const std::string& path, std::string& from,
                    std::string& to) {
  FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type", "pattern", "content"}));
  const json::value* pattern = fields.find("pattern");
  if (pattern == nullptr) return malformed(path + ".pattern is missing");
  FATHOM_TRY(const Fields inner, Fields::of(*pattern, path + ".pattern", {"String"}));
  FATHOM_TRY(from, inner.string("String"));
  FATHOM_TRY(to, fields.string("content"));
  if (from.empty()) return malformed(path + ".pattern is empty");
  return {};
}

}  // namespace

Status read_normalizer(const json::value& value, const std::string& path, TokenizerFile& file) {
  const std::string type = type_of(value);
  if (type == "NFC") {
    FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type"}));
    file.normalizer.push_back({.kind = NormalizerRule::Kind::nfc});
    return {};
  }
  if (type == "Prepend") {
    FATHOM_TRY(const Fields fields, Fields::of(value, path, {"type", "prepend"}));
    NormalizerRule rule{.kind = NormalizerRule::Kind::prepend};
    FATHOM_TRY(rule.to, fields.string("prepend"));
    file.normalizer.push_back(std::move(rule));
    return {};
  }
  if (type == "Replace") {
    NormalizerRule rule{.kind = NormalizerRule::Kind::replace};
    FATHOM_CHECKED(read_replace(value, path, rule.from, rule.to));
    file.normalizer.push_back(std::move(rule));
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

// Of SentencePiece's kind, where it may be missing: then the normalizer does its work.
Status read_metaspace(const json::value* value, TokenizerFile& file) {
  if (absent(value)) return {};
  const std::string path = "pre_tokenizer";
  if (type_of(*value) != "Metaspace") return unsupported(quoted(path, *value));
  FATHOM_TRY(const Fields fields,
             Fields::of(*value, path, {"type", "replacement", "prepend_scheme", "split"}));
  FATHOM_TRY(file.metaspace.replacement, fields.string("replacement"));
  if (file.metaspace.replacement.empty()) return malformed(path + ".replacement is empty");
  FATHOM_TRY(file.metaspace.split, fields.boolean("split", true));
  if (fields.find("prepend_scheme") == nullptr) return {};
  FATHOM_TRY(const std::string scheme, fields.string("prepend_scheme"));
  using Prepend = Metaspace::Prepend;
  if (scheme != "always" && scheme != "first" && scheme != "never")
    return unsupported(path + ".prepend_scheme = \"" + scheme + "\"");
  file.metaspace.prepend = scheme == "always"  ? Prepend::always
                           : scheme == "first" ? Prepend::first
                                               : Prepend::never;
  return {};
}

Status read_pre_tokenizer(const json::value* given, TokenizerFile& file) {
  const std::string path = "pre_tokenizer";
  if (file.characters) return read_metaspace(given, file);
  if (absent(given)) return unsupported("pre_tokenizer without ByteLevel");
  const json::value& value = *given;
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

namespace {

// [Replace, ByteFallback, Fuse, perhaps Strip of one space at the start]: SentencePiece's kind.
Status read_character_decoder(const json::array& list, TokenizerFile& file) {
  const std::string path = "decoder.decoders";
  const auto type_at = [&list](size_t i) { return i < list.size() ? type_of(list[i]) : ""; };
  if (type_at(0) != "Replace" || type_at(1) != "ByteFallback" || type_at(2) != "Fuse" ||
      list.size() > 4 || (list.size() == 4 && type_at(3) != "Strip"))
    return unsupported(quoted(path, list));
  std::string to;
  FATHOM_CHECKED(read_replace(list[0], path + "[0]", file.space, to));
  if (to != " ") return unsupported(path + "[0].content = \"" + to + "\"");
  file.characters = true;
  if (list.size() < 4) return {};
  FATHOM_TRY(const Fields strip,
             Fields::of(list[3], path + "[3]", {"type", "content", "start", "stop"}));
  FATHOM_CHECKED(strip.only("content", {" "}));
  FATHOM_CHECKED(strip.only("start", {1}));
  FATHOM_CHECKED(strip.only("stop", {0}));
  file.strip_space = true;
  return {};
}

}  // namespace

Status read_decoder(const json::value* value, TokenizerFile& file) {
  if (value == nullptr) return unsupported("decoder is missing");
  const std::string type = absent(value) ? "" : type_of(*value);
  if (type == "ByteLevel") return {};
  if (type != "Sequence") return unsupported(quoted("decoder", *value));
  FATHOM_TRY(const Fields fields, Fields::of(*value, "decoder", {"type", "decoders"}));
  FATHOM_TRY(const json::array* list, fields.array("decoders"));
  return read_character_decoder(*list, file);
}

}  // namespace fathom::tokenizer_json
