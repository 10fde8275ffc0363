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
  chat->shape_ = chat->probe();
  return std::shared_ptr<const ChatFormat>(chat);
}

Result<Dict> TemplateChat::variables(std::span<const ChatMessage> messages,
                                     const ChatOptions& options, const ChatShape& shape,
                                     TextSource final_source) const {
  Dict out;
  const auto set = [&out](std::string_view name, Value value) {
    out.set(Value::trusted(name), std::move(value));
  };
  FATHOM_TRY(Value list, chat_messages(messages, shape, final_source));
  set("messages", std::move(list));
  set("add_generation_prompt", options.add_generation_prompt && !options.continue_final_message);
  for (const auto& [name, text] : tokens_) set(name, Value::trusted(text));
  if (options.thinking) {
    set("thinking", *options.thinking);
    set("enable_thinking", *options.thinking);
  }
  FATHOM_CHECKED(add_json(out, options.variables, "chat_template_kwargs"));
  // Hugging Face always hands over these two.
  for (const std::string_view name : {"tools", "documents"})
    if (!out.find(name)) set(name, Value::none());
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
  tokenizer_->encode(text, out.tokens);
  out.text = std::move(text.bytes);
  return out;
}

// Whether the template writes `needle`, a part of the message, as it is.
bool TemplateChat::shows(const ChatMessage& message, const ChatShape& shape,
                         std::string_view needle) const {
  std::vector<ChatMessage> chat = {{.role = ChatRole::user, .content = "question"}};
  if (message.role == ChatRole::user) chat.clear();
  chat.push_back(message);
  const Result<MarkedText> text = render(chat, {}, shape, TextSource::people);
  return text.ok() && text->bytes.find(needle) != std::string::npos;
}

// Templates do not say what they expect, so each form is tried with words that nothing else has.
ChatShape TemplateChat::probe() const {
  ChatShape shape;
  const ChatMessage question{.role = ChatRole::user, .content = "needle in a hay"};
  if (!shows(question, shape, question.content))
    shape.content_parts = shows(question, {.content_parts = true}, question.content);
  ChatMessage call{
      .role = ChatRole::assistant,
      .tool_calls = {{.id = "call00001", .name = "find", .arguments = R"({"needle": "hay"})"}}};
  for (const bool has_content : {false, true}) {
    call.has_content = has_content;
    if (shows(call, shape, call.tool_calls[0].arguments)) return shape;
  }
  ChatShape objects = shape;
  objects.arguments_objects = true;
  for (const bool has_content : {false, true}) {
    call.has_content = has_content;
    if (shows(call, objects, "needle")) return objects;
  }
  return shape;
}

}  // namespace fathom
