#include "text/chat_template.h"

#include <algorithm>
#include <array>

namespace fathom {
namespace {

using jinja::Dict;
using jinja::Value;

constexpr std::string_view kThinkOpen = "<think>";
constexpr std::string_view kThinkClose = "</think>";

// The options' JSON as variables; what clients send stays marked.
Status add_json(Dict& variables, const std::string& text, const std::string& field) {
  if (text.empty()) return {};
  Result<Value> parsed = jinja::value_of_json(text, TextSource::people);
  if (!parsed.ok() || !parsed->is(jinja::Kind::dict)) return invalid("not a JSON object", field);
  for (const auto& [key, value] : parsed->dict().items)
    if (!variables.find(key)) variables.set(key, value);
  return {};
}

Status set_tools(Dict& variables, const std::string& text) {
  if (text.empty()) return {};
  Result<Value> parsed = jinja::value_of_json(text, TextSource::people);
  if (!parsed.ok() || !parsed->is(jinja::Kind::list)) return invalid("not a JSON list", "tools");
  variables.set(Value::trusted("tools"), *parsed);
  return {};
}

// Whether `text` ends with the template's own `marker`, white space aside.
bool ends_with_marker(const MarkedText& text, std::string_view marker) {
  const size_t last = text.bytes.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return false;
  const std::string_view bytes = std::string_view(text.bytes).substr(0, last + 1);
  if (!bytes.ends_with(marker)) return false;
  const size_t begin = bytes.size() - marker.size();
  return std::ranges::none_of(text.typed, [&](const TypedSpan& span) {
    return span.end > begin && span.begin < bytes.size();
  });
}

}  // namespace

TemplateChat::TemplateChat(std::shared_ptr<const jinja::Template> program, ChatTokens tokens,
                           std::shared_ptr<const Tokenizer> tokenizer)
    : program_(std::move(program)), tokens_(std::move(tokens)), tokenizer_(std::move(tokenizer)) {}

Result<std::shared_ptr<const ChatFormat>> TemplateChat::make(
    std::string_view source, ChatTokens tokens, std::shared_ptr<const Tokenizer> tokenizer) {
  FATHOM_TRY(auto program, jinja::Template::parse(source));
  const std::shared_ptr<TemplateChat> chat(
      new TemplateChat(std::move(program), std::move(tokens), std::move(tokenizer)));
  chat->thinks_ = source.find(kThinkOpen) != std::string_view::npos ||
                  source.find(kThinkClose) != std::string_view::npos;
  chat->probe();
  chat->can_answer_at_once_ = chat->thinking_can_be_off();
  return std::shared_ptr<const ChatFormat>(chat);
}

Result<Dict> TemplateChat::variables(std::span<const ChatMessage> messages,
                                     const ChatOptions& options, const ChatShape& shape,
                                     TextSource final_source) const {
  Dict out;
  const auto set = [&out](std::string_view name, Value value) {
    out.set(Value::trusted(name), std::move(value));
  };
  ChatShape wanted = shape;
  wanted.keep_calls = options.keep_calls;
  FATHOM_TRY(Value list, chat_messages(messages, wanted, final_source));
  set("messages", std::move(list));
  set("add_generation_prompt", options.add_generation_prompt && !options.continue_final_message);
  set("tools", Value::none());
  FATHOM_CHECKED(set_tools(out, options.tools));
  for (const auto& [name, text] : tokens_) set(name, Value::trusted(text));
  if (options.thinking) {
    set("thinking", *options.thinking);
    set("enable_thinking", *options.thinking);
  }
  FATHOM_CHECKED(add_json(out, options.variables, "chat_template_kwargs"));
  if (!out.find(std::string_view("documents")))
    set("documents", Value::none());  // as Hugging Face hands it over
  return out;
}

Result<MarkedText> TemplateChat::render(std::span<const ChatMessage> messages,
                                        const ChatOptions& options, const ChatShape& shape,
                                        TextSource final_source) const {
  FATHOM_TRY(const Dict all, variables(messages, options, shape, final_source));
  Result<MarkedText> text = program_->render(all, options.unix_seconds);
  if (text.ok()) return text;
  // Most templates join strings, and a null is what they most often fail at.
  for (size_t i = 0; i < messages.size(); ++i)
    if (!messages[i].has_content && text.error().message.find("NoneType") != std::string::npos)
      return null_content(i);
  return invalid(text.error().message, "messages");
}

// The rendering up to the end of the last message's content.
Result<MarkedText> TemplateChat::render_open(std::span<const ChatMessage> messages,
                                             const ChatOptions& options) const {
  const auto final_span = [](const MarkedText& text) {
    const auto found = std::ranges::find(text.typed.rbegin(), text.typed.rend(),
                                         TextSource::final_message, &TypedSpan::source);
    return found == text.typed.rend() ? nullptr : &*found;
  };
  FATHOM_TRY(MarkedText text, render(messages, options, shape_, TextSource::final_message));
  if (const TypedSpan* span = final_span(text)) return text.slice(0, span->end);
  // Nothing of it is shown, since it is empty or all thought: where would something be?
  std::vector<ChatMessage> copy(messages.begin(), messages.end());
  copy.back().content = "x";
  FATHOM_TRY(text, render(copy, options, shape_, TextSource::final_message));
  if (const TypedSpan* span = final_span(text)) return text.slice(0, span->begin);
  return invalid("the chat template does not show the message to be continued",
                 message_field(messages.size() - 1, "content"));
}

ReasoningStart TemplateChat::reasoning_after(const MarkedText& prompt,
                                             std::span<const ChatMessage> messages,
                                             const ChatOptions& options) const {
  if (!thinks_) return ReasoningStart::none;
  if (options.continue_final_message) {
    // The rest of a thought that the client began is still a thought.
    const std::string_view content = messages.back().content;
    const bool open = content.find(kThinkOpen) != std::string_view::npos &&
                      content.find(kThinkClose) == std::string_view::npos;
    return open ? ReasoningStart::inside : ReasoningStart::none;
  }
  if (ends_with_marker(prompt, kThinkOpen)) return ReasoningStart::inside;
  if (ends_with_marker(prompt, kThinkClose)) return ReasoningStart::none;
  return ReasoningStart::maybe;
}

Result<EncodedChat> TemplateChat::encode(std::span<const ChatMessage> messages,
                                         const ChatOptions& options) const {
  FATHOM_CHECKED(check_chat(messages, options));
  FATHOM_TRY(MarkedText text, options.continue_final_message
                                  ? render_open(messages, options)
                                  : render(messages, options, shape_, TextSource::people));
  EncodedChat out;
  out.reasoning = reasoning_after(text, messages, options);
  out.can_answer_at_once = out.reasoning == ReasoningStart::none ||
                           (out.reasoning == ReasoningStart::maybe && can_answer_at_once_);
  tokenizer_->encode(text, out.tokens);
  out.text = std::move(text.bytes);
  return out;
}

// The rendering of a short chat that ends with `message`; empty where the template fails.
std::string TemplateChat::tried(const ChatMessage& message, const ChatOptions& options,
                                const ChatShape& shape) const {
  std::vector<ChatMessage> chat = {{.role = ChatRole::user, .content = "question"}};
  if (message.role == ChatRole::user) chat.clear();
  chat.push_back(message);
  ChatOptions keeping = options;
  keeping.keep_calls = true;
  Result<MarkedText> text = render(chat, keeping, shape, TextSource::people);
  return text.ok() ? std::move(text->bytes) : std::string();
}

// Templates do not say what they expect, so each form is tried with words that nothing else has.
void TemplateChat::probe() {
  const ChatMessage question{.role = ChatRole::user, .content = "needle in a hay"};
  const auto shown = [&](const ChatShape& shape) {
    return tried(question, {}, shape).find(question.content) != std::string::npos;
  };
  if (!shown(shape_)) shape_.content_parts = shown({.content_parts = true});
  const ChatShape plain = shape_;
  for (const bool objects : {false, true})
    for (const bool empty_for_null : {false, true}) {
      ChatShape shape = plain;
      shape.arguments_objects = objects;
      shape.empty_for_null = empty_for_null;
      if (probe_calls(shape)) return probe_tools();
    }
}

// Whether the template shows a call that it gets in this shape.
bool TemplateChat::probe_calls(ChatShape shape) {
  const ToolCall call{.id = "call00001", .name = "find", .arguments = R"({"needle": "hay"})"};
  ChatMessage message{.role = ChatRole::assistant, .has_content = false, .tool_calls = {call}};
  const std::string text = tried(message, {}, shape);
  const std::string needle = shape.arguments_objects ? "needle" : call.arguments;
  if (text.find(needle) == std::string::npos) return false;
  tool_format_ = tool_format_in(text, call.name, call.arguments);
  message.has_content = true;
  message.content = "beside";
  const std::string beside = tried(message, {}, shape);
  shape.calls_alone =
      beside.find(needle) == std::string::npos || beside.find(message.content) == std::string::npos;
  shape_ = shape;
  return true;
}

void TemplateChat::probe_tools() {
  const std::string tools =
      R"([{"type": "function", "function": {"name": "find_it", "description": "needle in a hay",)"
      R"( "parameters": {"type": "object", "properties": {"stack": {"type": "string"}}}}}])";
  const ChatMessage question{.role = ChatRole::user, .content = "question"};
  const std::string text = tried(question, {.tools = tools}, shape_);
  tools_shown_ = true;
  for (const char* word : {"find_it", "needle in a hay", "stack"})
    tools_shown_ = tools_shown_ && text.find(word) != std::string::npos;
}

// Whether the prompt reacts: with thoughts switched off it is another, and opens none.
bool TemplateChat::thinking_can_be_off() const {
  const std::vector<ChatMessage> question = {{.role = ChatRole::user, .content = "question"}};
  const auto rendered = [&](bool thinking) {
    return render(question, {.thinking = thinking}, shape_, TextSource::people);
  };
  const Result<MarkedText> on = rendered(true);
  const Result<MarkedText> off = rendered(false);
  return on.ok() && off.ok() && on->bytes != off->bytes && !ends_with_marker(*off, kThinkOpen);
}

std::string_view TemplateChat::no_tools() const {
  if (tool_format_ == ToolFormat::none)
    return "this model's chat template writes no tool calls in a form that can be read";
  return "this model's chat template does not show tools to the model";
}

}  // namespace fathom
