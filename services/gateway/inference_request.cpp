#include "gateway/inference_request.h"

#include <cmath>

namespace fathom {
namespace {

constexpr size_t kStopStringsMax = 16;
constexpr size_t kStopBytesMax = 4096;
constexpr size_t kStopTokensMax = 128;

// The first bound that is broken is remembered.
class Bounds {
 public:
  template <class T>
  T in(const std::optional<T>& value, double least, double most, T fallback, const char* field) {
    if (!value) return fallback;
    const auto v = static_cast<double>(*value);
    if (!(v >= least && v <= most)) wrong(field, least, most);
    return *value;
  }
  void wrong(const char* field, double least, double most) {
    fail(field, "must be from " + std::to_string(least) + " to " + std::to_string(most));
  }
  void fail(const char* field, const std::string& why) {
    if (!error_)
      error_ = bad_request("'" + std::string(field) + "' " + why, std::string("sampling.") + field);
  }
  std::optional<ApiError> error() const { return error_; }

 private:
  std::optional<ApiError> error_;
};

bool known_id(TokenId id, int32_t vocab) { return id >= 0 && (vocab <= 0 || id < vocab); }

std::optional<ApiError> read_sampling(const rpc::SamplingOptions& in, const ParseLimits& limits,
                                      Generate& out) {
  Bounds bounds;
  Sampling& s = out.sampling;
  s.temperature = bounds.in(in.temperature, 0, 2, limits.temperature_default, "temperature");
  s.top_p = bounds.in(in.top_p, 0, 1, limits.top_p_default, "top_p");
  if (s.top_p <= 0) bounds.fail("top_p", "must be greater than 0");
  s.top_k = std::max(0, bounds.in(in.top_k, -1, 1 << 30, 0, "top_k"));
  s.min_p = bounds.in(in.min_p, 0, 1, 0.0f, "min_p");
  s.repetition_penalty = bounds.in(in.repetition_penalty, 0.01, 10, 1.0f, "repetition_penalty");
  s.frequency_penalty = bounds.in(in.frequency_penalty, -2, 2, 0.0f, "frequency_penalty");
  s.presence_penalty = bounds.in(in.presence_penalty, -2, 2, 0.0f, "presence_penalty");
  s.min_tokens = bounds.in(in.min_tokens, 0, limits.max_tokens_max, 0, "min_tokens");
  if (in.max_tokens)
    out.max_tokens = bounds.in(in.max_tokens, 0, limits.max_tokens_max, 0, "max_tokens");
  for (const auto& [id, bias] : in.logit_bias) {
    if (!known_id(id, limits.vocab))
      bounds.fail("logit_bias", "names a token that this model does not have");
    if (!(std::abs(bias) <= 100)) bounds.fail("logit_bias", "must be within -100 to 100");
    s.logit_bias.emplace_back(id, bias);
  }
  if (in.stop.size() > kStopStringsMax) bounds.fail("stop", "must be at most 16 strings");
  for (const std::string& stop : in.stop) {
    if (stop.size() > kStopBytesMax) bounds.fail("stop", "must be at most 4096 bytes long");
    if (!stop.empty()) out.stop.push_back(stop);
  }
  if (in.stop_token_ids.size() > kStopTokensMax)
    bounds.fail("stop_token_ids", "must be at most 128 ids");
  for (const TokenId id : in.stop_token_ids)
    if (!known_id(id, limits.vocab))
      bounds.fail("stop_token_ids", "names a token that this model does not have");
  s.stop_tokens = in.stop_token_ids;
  out.ignore_eos = in.ignore_eos.value_or(false);
  if (in.seed) out.seed = static_cast<int64_t>(*in.seed);
  out.stream = true;
  return bounds.error();
}

std::optional<ApiError> read_messages(const std::vector<rpc::ChatMessage>& in, ChatInput& out) {
  if (in.empty()) return bad_request("'messages' must hold at least one message", "messages");
  for (size_t i = 0; i < in.size(); ++i) {
    ChatMessage message{.content = in[i].content};
    if (in[i].role == "system" || in[i].role == "developer") {
      message.role = ChatRole::system;
    } else if (in[i].role == "assistant") {
      message.role = ChatRole::assistant;
    } else if (in[i].role != "user") {
      const std::string at = "messages[" + std::to_string(i) + "].role";
      return bad_request("'" + at + "' must be system, user or assistant", at);
    }
    out.messages.push_back(std::move(message));
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> read_rpc(const rpc::ChatRequest& in, const ParseLimits& limits,
                                 Generate& out) {
  out.surface = Surface::chat;
  out.model = in.model;
  ChatInput chat;
  if (auto error = read_messages(in.messages, chat)) return error;
  out.input = std::move(chat);
  if (auto error = read_sampling(in.sampling, limits, out)) return error;
  if (out.max_tokens == 0)
    return bad_request("'max_tokens' must be at least 1", "sampling.max_tokens");
  return std::nullopt;
}

std::optional<ApiError> read_rpc(const rpc::CompleteRequest& in, const ParseLimits& limits,
                                 Generate& out) {
  out.surface = Surface::completion;
  out.model = in.model;
  std::vector<PromptInput> prompts;
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&in.prompt)) {
    if (ids->empty()) return bad_request("'token_ids' must not be empty", "token_ids");
    prompts.emplace_back(*ids);
  } else {
    prompts.emplace_back(std::get<std::string>(in.prompt));
  }
  out.input = std::move(prompts);
  if (auto error = read_sampling(in.sampling, limits, out)) return error;
  if (!out.max_tokens) out.max_tokens = 16;
  return std::nullopt;
}

std::optional<ApiError> read_rpc(const rpc::TokenizeRequest& in, Tokenize& out) {
  out.model = in.model;
  if (const auto* text = std::get_if<std::string>(&in.input)) {
    out.input = *text;
    return std::nullopt;
  }
  ChatInput chat;
  if (auto error = read_messages(std::get<std::vector<rpc::ChatMessage>>(in.input), chat))
    return error;
  out.input.emplace<Generate>().input = std::move(chat);
  return std::nullopt;
}

}  // namespace fathom
