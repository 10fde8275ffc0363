#include "gateway/encode.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr std::string_view kThinkOpen = "<think>";
constexpr float kForbidden = -100;  // the bias clients use to rule a token out

std::optional<ApiError> encode_chat(const ServedModel& model, const ChatInput& chat,
                                    int64_t unix_seconds, EncodedChat& out) {
  if (!model.chat) return bad_request(model.chat_missing, "messages", "unsupported_value");
  ChatOptions options = chat.options;
  options.unix_seconds = unix_seconds;
  options.keep_calls = true;
  if (!options.tools.empty() && model.chat->tool_format() == ToolFormat::none)
    return unsupported("tools", std::string(model.chat->no_tools()));
  Result<EncodedChat> encoded = model.chat->encode(chat.messages, options);
  if (!encoded.ok()) return bad_request(encoded.error().message, encoded.error().field);
  out = std::move(*encoded);
  return std::nullopt;
}

// A call that is required begins in the prompt, so that the answer can only be one.
std::optional<ApiError> require_call(const ServedModel& model, EncodedChat& chat, ToolUse& tools) {
  const char* field = tools.legacy ? "function_call" : "tool_choice";
  if (chat.reasoning == ReasoningStart::inside)
    return bad_request(
        "this model thinks before it answers, so it can not be made to call a tool; "
        "switch 'thinking' off if it can be, or leave '" +
            std::string(field) + "' at 'auto'",
        field, "unsupported_value");
  tools.beginning = call_beginning(tools.format, tools.name);
  model.tokenizer->encode(tools.beginning, Specials::parse, chat.tokens);
  chat.reasoning = ReasoningStart::none;
  return std::nullopt;
}

// Where the prompt leaves it to the model whether it thinks, it may not begin to.
void forbid_thoughts(const ServedModel& model, Sampling& sampling) {
  const auto think = model.tokenizer->find_added(kThinkOpen);
  if (think) sampling.logit_bias.emplace_back(*think, kForbidden);
}

std::optional<ApiError> encode_generate(const ServedModel& model, const ChatInput& chat,
                                        int64_t unix_seconds, Generate& request) {
  EncodedChat encoded;
  if (auto error = encode_chat(model, chat, unix_seconds, encoded)) return error;
  if (request.wants_no_reasoning && !encoded.can_answer_at_once)
    return bad_request("this model always reasons before it answers", "reasoning_effort",
                       "unsupported_value");
  if (request.wants_no_reasoning && encoded.reasoning == ReasoningStart::maybe)
    forbid_thoughts(model, request.sampling);
  if (request.tools.wanted) {
    request.tools.format = model.chat->tool_format();
    if (request.tools.choice != ToolUse::Choice::automatic)
      if (auto error = require_call(model, encoded, request.tools)) return error;
  }
  request.reasoning = encoded.reasoning;
  request.prompts.push_back({.tokens = std::move(encoded.tokens), .text = {}});
  return std::nullopt;
}

// A prompt that says BOS itself does not get a second one.
std::optional<ApiError> encode_text(const ServedModel& model, const std::string& text, bool add_bos,
                                    std::vector<TokenId>& out) {
  if (!model.tokenizer)
    return bad_request("this model has no tokenizer files; send token ids", "prompt",
                       "unsupported_value");
  model.tokenizer->encode(text, Specials::parse, out);
  if (add_bos && model.bos && (out.empty() || out.front() != *model.bos))
    out.insert(out.begin(), *model.bos);
  return std::nullopt;
}

std::optional<ApiError> encode_prompt(const ServedModel& model, const Generate& request,
                                      const PromptInput& input, Prompt& out) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&input)) {
    out.tokens = *ids;
    if (request.echo && model.tokenizer) out.text = model.tokenizer->decode(*ids, false);
    return std::nullopt;
  }
  const auto& text = std::get<std::string>(input);
  if (request.echo) out.text = text;
  if (auto error = encode_text(model, text, request.add_bos, out.tokens)) return error;
  if (out.tokens.empty()) return bad_request("'prompt' must not be empty", "prompt");
  return std::nullopt;
}

std::optional<ApiError> check_length(const EncodeLimits& limits, Generate& request) {
  const int64_t context = limits.context_max;
  int64_t longest = 0;
  for (const Prompt& prompt : request.prompts)
    longest = std::max(longest, static_cast<int64_t>(prompt.tokens.size()));
  const bool chat = request.surface == Surface::chat;
  const char* field = chat ? "messages" : "prompt";
  const auto too_long = [&](const std::string& asked) {
    return bad_request("This model's maximum context length is " + std::to_string(context) +
                           " tokens. However, " + asked + " Please shorten the request.",
                       field, "context_length_exceeded");
  };
  const std::string has = "your prompt has " + std::to_string(longest) + " tokens";
  if (request.max_tokens) {
    const int64_t total = longest + *request.max_tokens;
    if (total > context)
      return too_long("you asked for " + std::to_string(total) + " tokens (" +
                      std::to_string(longest) + " in the prompt, " +
                      std::to_string(*request.max_tokens) + " for the answer).");
    request.sampling.max_tokens = *request.max_tokens;
  } else {
    const int64_t room = context - longest;
    if (room < 1) return too_long(has + ".");
    request.sampling.max_tokens =
        static_cast<int32_t>(std::min<int64_t>(room, limits.max_tokens_default));
  }
  request.sampling.min_tokens = std::min(request.sampling.min_tokens, request.sampling.max_tokens);
  return std::nullopt;
}

std::optional<ApiError> check_ids(int32_t vocab, const Generate& request) {
  if (vocab <= 0) return std::nullopt;
  for (const Prompt& prompt : request.prompts)
    for (const TokenId id : prompt.tokens)
      if (id < 0 || id >= vocab)
        return bad_request("token ids must be from 0 to " + std::to_string(vocab - 1), "prompt");
  return std::nullopt;
}

void complete_sampling(const ServedModel& model, uint64_t random_seed, Generate& request) {
  Sampling& s = request.sampling;
  if (!request.ignore_eos)
    s.stop_tokens.insert(s.stop_tokens.end(), model.eos.begin(), model.eos.end());
  std::sort(s.stop_tokens.begin(), s.stop_tokens.end());
  s.stop_tokens.erase(std::unique(s.stop_tokens.begin(), s.stop_tokens.end()), s.stop_tokens.end());
  s.seed = request.seed ? static_cast<uint64_t>(*request.seed) : random_seed;
}

// The text that echo puts before a chat answer: the message it continues.
std::string echoed(const Generate& request, const ChatInput& chat) {
  const bool same_role = !chat.messages.empty() && chat.messages.back().role == ChatRole::assistant;
  return request.echo && same_role ? chat.messages.back().content : std::string();
}

}  // namespace

std::optional<ApiError> encode(const ServedModel& model, const EncodeLimits& limits,
                               uint64_t random_seed, Generate& request) {
  if (const auto* chat = std::get_if<ChatInput>(&request.input)) {
    if (auto error = encode_generate(model, *chat, limits.unix_seconds, request)) return error;
    request.prompts.back().text = echoed(request, *chat);
  } else {
    for (const PromptInput& input : std::get<std::vector<PromptInput>>(request.input)) {
      Prompt prompt;
      if (auto error = encode_prompt(model, request, input, prompt)) return error;
      request.prompts.push_back(std::move(prompt));
    }
  }
  if (!model.tokenizer && !request.stop.empty())
    return bad_request("this model has no tokenizer files; use 'stop_token_ids'", "stop",
                       "unsupported_value");
  if (auto error = check_ids(limits.vocab, request)) return error;
  if (auto error = check_length(limits, request)) return error;
  complete_sampling(model, random_seed, request);
  request.input = std::vector<PromptInput>{};
  return std::nullopt;
}

std::optional<ApiError> encode_input(const ServedModel& model, Tokenize request,
                                     int64_t unix_seconds, std::vector<TokenId>& out) {
  if (auto* chat = std::get_if<Generate>(&request.input)) {
    const auto& input = std::get<ChatInput>(chat->input);
    if (auto error = encode_generate(model, input, unix_seconds, *chat)) return error;
    out = std::move(chat->prompts.back().tokens);
    return std::nullopt;
  }
  return encode_text(model, std::get<std::string>(request.input), request.add_special_tokens, out);
}

}  // namespace fathom
