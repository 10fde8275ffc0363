// Which bodies of /v1/completions, /tokenize and /detokenize can be served? Prompts as text or as
// token ids, one or many.
#include <limits>

#include "gateway/openai_fields.h"

namespace fathom {

namespace json = boost::json;

namespace {

constexpr int32_t kMaxTokensDefault = 16;  // the surface's own

int32_t vocab_bound(const ParseLimits& limits) {
  return limits.vocab > 0 ? limits.vocab : std::numeric_limits<int32_t>::max();
}

bool read_one(JsonFields& fields, const std::string& at, const json::value& value, int32_t vocab,
              std::vector<PromptInput>& out) {
  if (const json::string* text = value.if_string()) {
    out.emplace_back(std::string(text->data(), text->size()));
    return true;
  }
  const json::array* ids = value.if_array();
  if (ids == nullptr || ids->empty()) {
    fields.wrong(at, "a string or a list of token ids that is not empty");
    return false;
  }
  std::vector<TokenId> tokens;
  if (!read_ids(fields, at, *ids, vocab, tokens)) return false;
  out.emplace_back(std::move(tokens));
  return true;
}

void read_prompts(JsonFields& fields, const json::object& body, const ParseLimits& limits,
                  std::vector<PromptInput>& out) {
  const json::value* value = fields.find("prompt");
  if (value == nullptr) {
    if (!body.contains("prompt")) return fields.fail(bad_request("'prompt' is required", "prompt"));
    out.emplace_back(std::string());  // null: begin from nothing
    return;
  }
  const json::array* list = value->if_array();
  const bool many = list != nullptr && !list->empty() && !list->front().is_number();
  if (!many) {
    read_one(fields, "prompt", *value, vocab_bound(limits), out);
    return;
  }
  if (list->size() > static_cast<size_t>(limits.prompts_max))
    return fields.wrong("prompt", "at most " + std::to_string(limits.prompts_max) + " prompts");
  for (size_t i = 0; i < list->size(); ++i)
    if (!read_one(fields, "prompt[" + std::to_string(i) + "]", (*list)[i], vocab_bound(limits),
                  out))
      return;
}

void read_logprobs(JsonFields& fields, Generate& out) {
  const json::value* value = fields.find("logprobs");
  if (value == nullptr || (value->is_bool() && !value->get_bool())) return;
  const auto top = fields.integer("logprobs", 0, kTopLogprobsMax);
  if (!top) return;
  out.sampling.logprobs = static_cast<int32_t>(*top);
  if (out.echo) out.sampling.prompt_logprobs = static_cast<int32_t>(*top);
}

void read_best_of(JsonFields& fields, const Generate& request) {
  const auto best_of = fields.integer("best_of", 1, std::numeric_limits<int32_t>::max());
  if (best_of && *best_of != request.n)
    fields.fail(unsupported("best_of", "'best_of' must equal 'n': answers are not ranked"));
}

}  // namespace

Parsed<Generate> parse_completion(std::string_view body, const ParseLimits& limits) {
  Parsed<Generate> out;
  json::value root;
  if (out.error = parse_object(body, root); out.error) return out;
  JsonFields fields(root.get_object());
  Generate& request = out.request;
  request.surface = Surface::completion;
  read_common(fields, limits, request);
  std::vector<PromptInput> prompts;
  read_prompts(fields, root.get_object(), limits, prompts);
  request.echo = fields.flag("echo", false);
  request.add_bos = fields.flag("add_special_tokens", true);
  request.max_tokens = static_cast<int32_t>(
      fields.integer("max_tokens", 0, limits.max_tokens_max).value_or(kMaxTokensDefault));
  if (request.sampling.min_tokens > *request.max_tokens)
    fields.wrong("min_tokens", "at most 'max_tokens'");
  read_logprobs(fields, request);
  read_best_of(fields, request);
  fields.refuse({"suffix"}, "this model does not fill in the middle");
  if (const json::object* format = fields.object("response_format"))
    if (const json::value* type = format->if_contains("type"); type == nullptr || *type != "text")
      fields.fail(unsupported("response_format", "only plain text is supported"));
  request.input = std::move(prompts);
  out.error = fields.error();
  out.unknown_fields = fields.unknown();
  return out;
}

Parsed<Tokenize> parse_tokenize(std::string_view body, const ParseLimits&) {
  Parsed<Tokenize> out;
  json::value root;
  if (out.error = parse_object(body, root); out.error) return out;
  JsonFields fields(root.get_object());
  Tokenize& request = out.request;
  request.model = fields.text("model").value_or("");
  request.return_strings = fields.flag("return_token_strs", false);
  const bool is_chat = fields.has("messages");
  if (is_chat) {
    ChatInput chat;
    Generate& asked = request.input.emplace<Generate>();
    read_messages(fields, chat);
    read_thinking(fields, asked, chat.options);
    read_tools(fields, chat, asked.tools);
    fields.refuse({"chat_template"}, "this service does not accept it");
    asked.input = std::move(chat);
    request.add_special_tokens = fields.flag("add_special_tokens", false);
    if (request.add_special_tokens)
      fields.fail(bad_request("a chat has its special tokens already", "add_special_tokens"));
  } else {
    const auto prompt = fields.text("prompt");
    if (!prompt) fields.fail(bad_request("'prompt' or 'messages' is required", "prompt"));
    request.input = prompt.value_or("");
    request.add_special_tokens = fields.flag("add_special_tokens", true);
  }
  out.error = fields.error();
  out.unknown_fields = fields.unknown();
  return out;
}

Parsed<Detokenize> parse_detokenize(std::string_view body, const ParseLimits& limits) {
  Parsed<Detokenize> out;
  json::value root;
  if (out.error = parse_object(body, root); out.error) return out;
  JsonFields fields(root.get_object());
  out.request.model = fields.text("model").value_or("");
  if (const json::array* ids = fields.list("tokens")) {
    read_ids(fields, "tokens", *ids, vocab_bound(limits), out.request.tokens);
  } else {
    fields.fail(bad_request("'tokens' is required", "tokens"));
  }
  out.error = fields.error();
  out.unknown_fields = fields.unknown();
  return out;
}

}  // namespace fathom
