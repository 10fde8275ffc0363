#include "gateway/openai_parts.h"

#include <algorithm>

#include "gateway/json_text.h"

namespace fathom {
namespace {

constexpr int32_t kCacheUnit = 64;  // hits are counted in whole units, as DeepSeek does

std::string token_text(const Tokenizer* tokenizer, TokenId id) {
  if (tokenizer == nullptr) return "token_id:" + std::to_string(id);
  return tokenizer->decode(std::span(&id, 1), false);
}

void append_bytes(std::string& out, const Tokenizer* tokenizer, TokenId id) {
  if (tokenizer == nullptr) {
    out += "null";
    return;
  }
  out += '[';
  bool first = true;
  for (const char c : tokenizer->bytes(id)) {
    if (!first) out += ',';
    first = false;
    append_json(out, static_cast<int64_t>(static_cast<unsigned char>(c)));
  }
  out += ']';
}

void append_entry(std::string& out, const Tokenizer* tokenizer, TokenId id, float logprob) {
  out += "{\"token\":";
  append_json(out, token_text(tokenizer, id));
  out += ",\"logprob\":";
  append_logprob(out, logprob);
  out += ",\"bytes\":";
  append_bytes(out, tokenizer, id);
}

}  // namespace

void append_usage(std::string& out, const UsageCount& usage) {
  const int32_t hit = std::min(usage.cached, usage.prompt) / kCacheUnit * kCacheUnit;
  const auto field = [&out](const char* name, int32_t value) {
    out += name;
    append_json(out, static_cast<int64_t>(value));
  };
  field("{\"prompt_tokens\":", usage.prompt);
  field(",\"completion_tokens\":", usage.completion);
  field(",\"total_tokens\":", usage.prompt + usage.completion);
  field(",\"prompt_tokens_details\":{\"cached_tokens\":", hit);
  field("},\"completion_tokens_details\":{\"reasoning_tokens\":", usage.reasoning);
  field("},\"prompt_cache_hit_tokens\":", hit);
  field(",\"prompt_cache_miss_tokens\":", usage.prompt - hit);
  out += '}';
}

void append_chat_logprobs(std::string& out, const Tokenizer* tokenizer,
                          std::span<const ScoredToken> scored, int top) {
  out += "{\"content\":[";
  for (size_t i = 0; i < scored.size(); ++i) {
    if (i > 0) out += ',';
    append_entry(out, tokenizer, scored[i].token, scored[i].logprob.logprob);
    out += ",\"top_logprobs\":[";
    const auto& alternatives = scored[i].logprob.top;
    const size_t count = std::min(alternatives.size(), static_cast<size_t>(top));
    for (size_t k = 0; k < count; ++k) {
      if (k > 0) out += ',';
      append_entry(out, tokenizer, alternatives[k].token, alternatives[k].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

void CompletionLogprobs::add(TokenId token, const TokenLogprob* score, bool in_text) {
  const std::string text = token_text(tokenizer_, token);
  const char* comma = tokens_.empty() ? "" : ",";
  tokens_ += comma;
  append_json(tokens_, text);
  logprobs_ += comma;
  tops_ += comma;
  offsets_ += comma;
  append_json(offsets_, offset_);
  if (in_text && tokenizer_ != nullptr) offset_ += count_code_points(text);
  if (score == nullptr) {
    logprobs_ += "null";
    tops_ += "null";
    return;
  }
  append_logprob(logprobs_, score->logprob);
  if (top_ == 0) {
    tops_ += "null";
    return;
  }
  tops_ += '{';
  append_alternatives(*score);
  tops_ += '}';
}

// A map by text: of tokens that read the same, as parts of characters do, the likeliest stays.
void CompletionLogprobs::append_alternatives(const TokenLogprob& score) {
  std::vector<std::string> seen;
  const size_t count = std::min(score.top.size(), static_cast<size_t>(top_));
  for (size_t k = 0; k < count; ++k) {
    std::string text = token_text(tokenizer_, score.top[k].token);
    if (std::find(seen.begin(), seen.end(), text) != seen.end()) continue;
    if (!seen.empty()) tops_ += ',';
    append_json(tops_, text);
    tops_ += ':';
    append_logprob(tops_, score.top[k].logprob);
    seen.push_back(std::move(text));
  }
}

void CompletionLogprobs::add(std::span<const ScoredToken> scored) {
  for (const ScoredToken& item : scored) add(item.token, &item.logprob, true);
}

void CompletionLogprobs::take(std::string& out) {
  out += "{\"tokens\":[" + tokens_ + "],\"token_logprobs\":[" + logprobs_ + "],\"top_logprobs\":[" +
         tops_ + "],\"text_offset\":[" + offsets_ + "]}";
  tokens_.clear();
  logprobs_.clear();
  tops_.clear();
  offsets_.clear();
}

void add_prompt(std::span<const TokenId> tokens, std::span<const TokenLogprob> scores,
                const Tokenizer* tokenizer, CompletionLogprobs& out) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool in_text = i > 0 || tokenizer == nullptr || !tokenizer->is_special(tokens[i]);
    out.add(tokens[i], i > 0 && i <= scores.size() ? &scores[i - 1] : nullptr, in_text);
  }
}

}  // namespace fathom
