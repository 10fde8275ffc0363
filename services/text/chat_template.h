// How does a checkpoint's own template render a chat? It is interpreted, never guessed at: one
// truth for every family. What comes out is text with marks; the template's bytes become special
// tokens, those of people never do.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "text/chat_variables.h"

namespace fathom {

// The special tokens that templates name: bos_token, eos_token and their kin, by variable.
using ChatTokens = std::map<std::string, std::string>;

class TemplateChat final : public ChatFormat {
 public:
  // INVALID_ARGUMENT or UNIMPLEMENTED naming the line for a template that can not be interpreted.
  static Result<std::shared_ptr<const ChatFormat>> make(std::string_view source, ChatTokens tokens,
                                                        std::shared_ptr<const Tokenizer> tokenizer);

  Result<EncodedChat> encode(std::span<const ChatMessage> messages,
                             const ChatOptions& options) const override;
  ToolFormat tool_format() const override { return tools_shown_ ? tool_format_ : ToolFormat::none; }
  std::string_view no_tools() const override;

 private:
  TemplateChat(std::shared_ptr<const jinja::Template> program, ChatTokens tokens,
               std::shared_ptr<const Tokenizer> tokenizer);
  Result<jinja::Dict> variables(std::span<const ChatMessage> messages, const ChatOptions& options,
                                const ChatShape& shape, TextSource final_source) const;
  Result<MarkedText> render(std::span<const ChatMessage> messages, const ChatOptions& options,
                            const ChatShape& shape, TextSource final_source) const;
  Result<MarkedText> render_open(std::span<const ChatMessage> messages,
                                 const ChatOptions& options) const;
  ReasoningStart reasoning_after(const MarkedText& prompt, std::span<const ChatMessage> messages,
                                 const ChatOptions& options) const;
  void probe();
  bool probe_calls(ChatShape shape);
  void probe_tools();
  bool thinking_can_be_off() const;
  std::string tried(const ChatMessage& message, const ChatOptions& options,
                    const ChatShape& shape) const;

  std::shared_ptr<const jinja::Template> program_;
  ChatTokens tokens_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool thinks_ = false;              // the template knows thoughts
  bool can_answer_at_once_ = false;  // and leaves them out where `thinking` is false
  ToolFormat tool_format_ = ToolFormat::none;
  bool tools_shown_ = false;
  ChatShape shape_;
};

}  // namespace fathom
