// How does a conversation become a prompt? The chat formats of DeepSeek V3 and R1, chosen by the
// checkpoint's own template. The rendering equals the published template byte for byte; text that
// came from people is encoded so that it can never become a special token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/tokenizer.h"

namespace fathom {

enum class ChatRole : uint8_t { system, user, assistant, tool };

struct ToolCall {
  std::string id, type = "function", name, arguments;  // arguments: JSON text, verbatim
};

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content;
  bool has_content = true;  // false for null (assistant with tool calls)
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;
};

struct ChatOptions {
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // leave the last assistant message open: no EOS after it
};

// Where the model's output begins.
enum class ReasoningStart : uint8_t {
  none,    // V3: plain text
  inside,  // R1: the prompt ends with <think>\n
  maybe,   // R1 (first template), R1-0528: the model writes <think> itself, or not
};

struct EncodedChat {
  std::vector<TokenId> tokens;
  std::string text;  // the same, rendered; for tests and /tokenize
  ReasoningStart reasoning = ReasoningStart::none;
};

class ChatFormat {
 public:
  // Chooses by the `chat_template` of tokenizer_config.json; UNIMPLEMENTED, naming the file, for a
  // template that is not known. Special tokens the format needs must each be one id of the
  // tokenizer.
  static Result<std::shared_ptr<const ChatFormat>> load(const std::string& tokenizer_config_path,
                                                        std::shared_ptr<const Tokenizer> tokenizer);
  // By name: "deepseek-v3", "deepseek-r1", "deepseek-r1-first". For tests and explicit
  // configuration.
  static Result<std::shared_ptr<const ChatFormat>> named(
      std::string_view name, std::shared_ptr<const Tokenizer> tokenizer);
  virtual ~ChatFormat() = default;
  virtual std::string_view name() const = 0;
  // INVALID_ARGUMENT naming messages[i].field where the template itself would fail.
  virtual Result<EncodedChat> encode(std::span<const ChatMessage> messages,
                                     const ChatOptions& options) const = 0;
};

}  // namespace fathom
