// What does a client want, whatever surface it spoke through? One typed request: every parser ends
// here, every renderer starts from here. Checked: a value in it is one the cluster can serve,
// except for lengths, which are known only after encoding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "contract/sampling.h"
#include "text/chat_format.h"

namespace fathom {

struct ChatInput {
  std::vector<ChatMessage> messages;
  ChatOptions options;
};
using PromptInput = std::variant<std::string, std::vector<TokenId>>;  // empty string: BOS alone
using Input = std::variant<ChatInput, std::vector<PromptInput>>;

enum class Surface : uint8_t { chat, completion };

struct Prompt {
  std::vector<TokenId> tokens;
  std::string text;  // for echo
};

// What the client said about tools. The tools themselves are in the chat's options.
struct ToolUse {
  enum class Choice : uint8_t { automatic, required, named };
  bool wanted = false;   // the model sees tools, and its calls are told apart from its text
  bool legacy = false;   // `functions`: one call, answered as `function_call`
  bool parallel = true;  // false: the answer ends with its first call
  Choice choice = Choice::automatic;
  std::string name;                // of the named one
  std::vector<std::string> names;  // of all

  // Filled by encode().
  ToolFormat format = ToolFormat::none;
  std::string beginning;  // of the answer, where a call is required; the prompt ends with it
};

struct Generate {
  Surface surface = Surface::chat;
  std::string model;  // as the client wrote it; answers repeat it
  Input input;

  Sampling sampling;  // stop tokens, max_tokens and seed are completed by encode()
  std::optional<int64_t> seed;
  std::optional<int32_t> max_tokens;
  bool ignore_eos = false;
  int32_t n = 1;
  std::vector<std::string> stop;
  bool include_stop = false;
  bool skip_special = true;
  bool add_bos = true;  // before text prompts

  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool return_token_ids = false;
  bool show_reasoning = true;
  bool wants_no_reasoning = false;  // reasoning_effort none, thinking disabled
  ToolUse tools;
  std::string tenant;        // whose share of the queue it takes
  std::string user;          // who among the tenant's
  std::string service_tier;  // echoed; empty: not asked

  // Filled by encode().
  std::vector<Prompt> prompts;
  ReasoningStart reasoning = ReasoningStart::none;

  int32_t choices() const { return static_cast<int32_t>(prompts.size()) * n; }
};

// A chat is counted as it would be answered: thinking and tools shape its prompt.
struct Tokenize {
  std::string model;
  std::variant<Generate, std::string> input;
  bool add_special_tokens = true;
  bool return_strings = false;
};

struct Detokenize {
  std::string model;
  std::vector<TokenId> tokens;
};

// Why an answer ended, in the client's words.
enum class Ending : uint8_t { stop, length, tool_calls };
constexpr const char* ending_name(Ending e, bool legacy = false) {
  if (e == Ending::tool_calls) return legacy ? "function_call" : "tool_calls";
  return e == Ending::stop ? "stop" : "length";
}

struct UsageCount {
  int32_t prompt = 0;
  int32_t completion = 0;
  int32_t cached = 0;
  int32_t reasoning = 0;
};

}  // namespace fathom
