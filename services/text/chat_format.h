// How does a conversation become a prompt? As the checkpoint's own chat template says, which is
// interpreted. The rendering equals that of Hugging Face byte for byte; text that came from people
// is encoded so that it can never become a special token.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tool_format.h"

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
  std::string reasoning_content;  // of an earlier answer; templates decide whether it is shown
};

struct ChatOptions {
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // leave the last assistant message open: no EOS after it
  std::optional<bool> thinking;  // the template's `thinking` and `enable_thinking`, if it has them
  std::string variables;         // further variables of the template: a JSON object, or empty
  std::string tools;             // what may be called: a JSON list of tools, or empty for none
  // Messages are handed to the template so that it shows every call: V3's drops those beside a
  // content, even an empty one. False is Hugging Face's way.
  bool keep_calls = false;
  int64_t unix_seconds = 0;  // for templates that write the date
};

// Where the model's output begins.
enum class ReasoningStart : uint8_t {
  none,    // plain text: the template knows no thoughts, or the prompt ends with </think>
  inside,  // the prompt ends with <think>
  maybe,   // the model writes <think> itself, or not
};

struct EncodedChat {
  std::vector<TokenId> tokens;
  std::string text;  // the same, rendered; for tests and /tokenize
  ReasoningStart reasoning = ReasoningStart::none;
  // False: this model thinks before it answers here, whatever `thinking` says.
  bool can_answer_at_once = true;
};

class ChatFormat {
 public:
  // The template of a checkpoint: chat_template.jinja beside tokenizer_config.json, or the config's
  // `chat_template`, or chat_template.json. Errors name the file and the line: UNIMPLEMENTED for a
  // construct that is not supported, FAILED_PRECONDITION if there is no template.
  static Result<std::shared_ptr<const ChatFormat>> load(const std::string& tokenizer_config_path,
                                                        std::shared_ptr<const Tokenizer> tokenizer);
  // A template as text, with the special tokens it names: bos_token, eos_token and their kin.
  static Result<std::shared_ptr<const ChatFormat>> parse(
      std::string_view source, std::map<std::string, std::string> tokens,
      std::shared_ptr<const Tokenizer> tokenizer);
  virtual ~ChatFormat() = default;
  // INVALID_ARGUMENT naming `messages` or a part of it where the template itself fails; what it
  // raises is the message.
  virtual Result<EncodedChat> encode(std::span<const ChatMessage> messages,
                                     const ChatOptions& options) const = 0;
  // How this model writes its tool calls; none: `tools` can not be used, and why.
  virtual ToolFormat tool_format() const = 0;
  virtual std::string_view no_tools() const = 0;
};

}  // namespace fathom
