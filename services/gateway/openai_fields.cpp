#include "gateway/openai_fields.h"

#include <boost/json/parse.hpp>
#include <charconv>
#include <limits>

#include "gateway/json_text.h"

namespace fathom {

namespace json = boost::json;

namespace {

constexpr size_t kStopStringsMax = 16;
constexpr size_t kStopBytesMax = 4096;
constexpr size_t kLogitBiasMax = 1024;
constexpr size_t kStopTokensMax = 128;
constexpr int32_t kNoVocab = std::numeric_limits<int32_t>::max();

void read_stop(JsonFields& fields, Generate& out) {
  const json::value* value = fields.find("stop");
  if (value == nullptr) return;
  const auto add = [&](const json::value& item) {
    const json::string* text = item.if_string();
    if (text == nullptr) return fields.wrong("stop", "a string or a list of strings");
    if (text->empty()) return;  // matches nothing
    if (text->size() > kStopBytesMax) return fields.wrong("stop", "at most 4096 bytes long");
    out.stop.emplace_back(text->data(), text->size());
  };
  if (const json::array* list = value->if_array()) {
    if (list->size() > kStopStringsMax) return fields.wrong("stop", "at most 16 strings");
    for (const json::value& item : *list) add(item);
  } else {
    add(*value);
  }
}

void read_logit_bias(JsonFields& fields, int32_t vocab, Sampling& out) {
  const json::object* map = fields.object("logit_bias");
  if (map == nullptr) return;
  if (map->size() > kLogitBiasMax) return fields.wrong("logit_bias", "at most 1024 tokens");
  for (const auto& entry : *map) {
    const std::string_view key(entry.key().data(), entry.key().size());
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= vocab)
      return fields.wrong("logit_bias", "a map from token ids of this model to numbers");
    if (!entry.value().is_number())
      return fields.wrong("logit_bias", "a map from token ids to numbers");
    const double bias = entry.value().to_number<double>();
    if (!(bias >= -100 && bias <= 100)) return fields.wrong("logit_bias", "within -100 to 100");
    out.logit_bias.emplace_back(id, static_cast<float>(bias));
  }
}

void read_sampling(JsonFields& fields, const ParseLimits& limits, Generate& out) {
  const int32_t vocab = limits.vocab > 0 ? limits.vocab : kNoVocab;
  const auto real = [&](std::string_view key, double least, double most, float fallback) {
    return static_cast<float>(fields.number(key, least, most).value_or(fallback));
  };
  Sampling& s = out.sampling;
  s.temperature = real("temperature", 0, 2, limits.temperature_default);
  s.top_p = real("top_p", 0, 1, limits.top_p_default);
  if (s.top_p <= 0) fields.wrong("top_p", "greater than 0 and at most 1");
  s.top_k = static_cast<int32_t>(fields.integer("top_k", -1, 1 << 30).value_or(0));
  if (s.top_k < 0) s.top_k = 0;  // -1 is off in other servers
  s.min_p = real("min_p", 0, 1, 0);
  s.repetition_penalty = real("repetition_penalty", 0.01, 10, 1);
  s.frequency_penalty = real("frequency_penalty", -2, 2, 0);
  s.presence_penalty = real("presence_penalty", -2, 2, 0);
  s.min_tokens =
      static_cast<int32_t>(fields.integer("min_tokens", 0, limits.max_tokens_max).value_or(0));
  out.seed = fields.integer("seed", std::numeric_limits<int64_t>::min(),
                            std::numeric_limits<int64_t>::max());
  read_logit_bias(fields, vocab, s);
  if (const json::array* list = fields.list("stop_token_ids")) {
    if (list->size() > kStopTokensMax) {
      fields.wrong("stop_token_ids", "at most 128 ids");
    } else {
      read_ids(fields, "stop_token_ids", *list, vocab, s.stop_tokens);
    }
  }
  out.ignore_eos = fields.flag("ignore_eos", false);
  out.include_stop = fields.flag("include_stop_str_in_output", false);
  out.skip_special = fields.flag("skip_special_tokens", true);
}

void read_streaming(JsonFields& fields, Generate& out) {
  out.stream = fields.flag("stream", false);
  const json::object* options = fields.object("stream_options");
  if (options == nullptr) return;
  if (!out.stream)
    return fields.fail(bad_request("'stream_options' needs 'stream': true", "stream_options"));
  JsonFields inner(*options, "stream_options");
  out.include_usage = inner.flag("include_usage", false);
  inner.ignore({"include_obfuscation", "continuous_usage_stats"});
  if (inner.error()) fields.fail(*inner.error());
}

// Who shares a queue with whom: the first of these that is set.
void read_tenant(JsonFields& fields, Generate& out) {
  const auto user_id = fields.text("user_id");
  const auto safety = fields.text("safety_identifier");
  const auto user = fields.text("user");
  if (user_id && (user_id->empty() || user_id->size() > 512 ||
                  user_id->find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789-_") != std::string::npos))
    fields.wrong("user_id", "1 to 512 letters, digits, '-' or '_'");
  out.tenant = user_id ? *user_id : safety ? *safety : user.value_or("");
  if (out.tenant.size() > 512) out.tenant.resize(512);
}

void read_metadata(JsonFields& fields) {
  const json::object* metadata = fields.object("metadata");
  if (metadata == nullptr) return;
  bool good = metadata->size() <= 16;
  for (const auto& entry : *metadata)
    good = good && entry.key().size() <= 64 && entry.value().is_string() &&
           entry.value().get_string().size() <= 512;
  if (!good) fields.wrong("metadata", "at most 16 strings of 512 bytes, with keys of 64");
}

}  // namespace

std::optional<ApiError> parse_object(std::string_view body, json::value& out) {
  if (body.empty()) return bad_request("the request body is empty; it must be a JSON object");
  if (!is_utf8(body)) return bad_request("the request body is not valid UTF-8");
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 64;
  out = json::parse(json::string_view(body.data(), body.size()), error, {}, options);
  if (error) return bad_request("the request body is not valid JSON: " + error.message());
  if (!out.is_object()) return bad_request("the request body must be a JSON object");
  return std::nullopt;
}

bool read_ids(JsonFields& fields, std::string_view key, const json::array& list, int32_t vocab,
              std::vector<TokenId>& out) {
  out.reserve(out.size() + list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const int64_t* id = list[i].if_int64();
    if (id == nullptr || *id < 0 || *id >= vocab) {
      const std::string at = std::string(key) + "[" + std::to_string(i) + "]";
      fields.wrong(at, vocab == kNoVocab ? std::string("a token id")
                                         : "a token id from 0 to " + std::to_string(vocab - 1));
      return false;
    }
    out.push_back(static_cast<TokenId>(*id));
  }
  return true;
}

void read_common(JsonFields& fields, const ParseLimits& limits, Generate& out) {
  if (const auto model = fields.text("model")) {
    out.model = *model;
  } else {
    fields.fail(bad_request("'model' is required", "model"));
  }
  read_sampling(fields, limits, out);
  read_stop(fields, out);
  read_streaming(fields, out);
  read_tenant(fields, out);
  read_metadata(fields);
  out.n = static_cast<int32_t>(fields.integer("n", 1, limits.n_max).value_or(1));
  out.return_token_ids = fields.flag("return_token_ids", false);
  if (const auto tier = fields.text("service_tier")) {
    if (*tier != "auto" && *tier != "default" && *tier != "flex" && *tier != "priority")
      fields.wrong("service_tier", "auto, default, flex or priority");
    out.service_tier = "default";
  }
  if (fields.integer("priority", -1000000, 1000000).value_or(0) != 0)
    fields.fail(unsupported("priority", "'priority' is not supported"));
  fields.refuse({"prompt_logprobs"}, "ask for 'echo' with 'logprobs' on /v1/completions instead");
  fields.refuse({"cache_salt"}, "prompt caches are not separated by salt");
  fields.refuse(
      {"chat_template", "logits_processors", "kv_transfer_params", "structural_tag", "guided_json",
       "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"},
      "this service does not accept it");
  fields.ignore({"store", "verbosity", "prediction", "prompt_cache_key", "prompt_cache_retention",
                 "prompt_cache_options", "moderation", "request_id"});
}

}  // namespace fathom
