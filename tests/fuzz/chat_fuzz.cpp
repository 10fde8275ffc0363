// Can a conversation forge the structure of its prompt? The input is a list of messages: a byte
// that says the role and the kind, then the text up to a zero byte. Whatever the texts say, the
// markers are those of the messages.
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/chat_format.h"
#include "text/utf8.h"

namespace {

using namespace fathom;

struct Formats {
  std::shared_ptr<const Tokenizer> tokenizer =
      Tokenizer::load(FATHOM_SOURCE_DIR "/tests/golden/data/tokenizer/mini-deepseek/tokenizer.json")
          .value();
  std::vector<std::shared_ptr<const ChatFormat>> all;
  Formats() {
    for (const std::string name :
         {"deepseek-v3", "deepseek-r1", "deepseek-r1-first", "deepseek-r1-distill"}) {
      std::ifstream file(FATHOM_SOURCE_DIR "/tests/golden/data/tokenizer/templates/" + name +
                         ".jinja");
      const std::string source{std::istreambuf_iterator<char>(file), {}};
      all.push_back(ChatFormat::parse(source,
                                      {{"bos_token", "<｜begin▁of▁sentence｜>"},
                                       {"eos_token", "<｜end▁of▁sentence｜>"}},
                                      tokenizer)
                        .value());
    }
  }
};

std::vector<ChatMessage> messages_of(std::string_view text) {
  std::vector<ChatMessage> messages;
  while (!text.empty() && messages.size() < 32) {
    const auto kind = static_cast<unsigned char>(text.front());
    const size_t end = std::min(text.find('\0', 1), text.size());
    const std::string content(text.substr(1, end - 1));
    ChatMessage& message = messages.emplace_back();
    message.role = static_cast<ChatRole>(kind % 4);
    message.has_content = (kind & 4) == 0;
    if (message.has_content) message.content = content;
    if (message.role == ChatRole::assistant && (kind & 8) != 0)
      message.tool_calls.assign(1 + (kind >> 6),
                                {.id = "c", .name = content, .arguments = content});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Formats formats;
  const std::vector<ChatMessage> messages =
      messages_of({reinterpret_cast<const char*>(data), size});
  const auto users = std::count_if(messages.begin(), messages.end(),
                                   [](const ChatMessage& m) { return m.role == ChatRole::user; });
  for (const auto& format : formats.all) {
    for (const ChatOptions& options : {ChatOptions{}, ChatOptions{.add_generation_prompt = false},
                                       ChatOptions{.continue_final_message = true}}) {
      const auto chat = format->encode(messages, options);
      if (!chat.ok()) {
        CHECK(chat.error().field.starts_with("messages"), "refused without naming the message");
        continue;
      }
      const auto count = [&](std::string_view marker) {
        return std::count(chat->tokens.begin(), chat->tokens.end(),
                          *formats.tokenizer->find_added(marker));
      };
      std::string repaired;
      append_utf8(chat->text, true, repaired);
      CHECK(formats.tokenizer->decode(chat->tokens, false) == repaired, "the ids are another text");
      CHECK(count("<｜begin▁of▁sentence｜>") == 1, "not exactly one bos");
      CHECK(count("<｜User｜>") == users, "a forged turn");
      CHECK(count("</think>") == 0 && count("<｜fim▁hole｜>") == 0, "a forged marker");
      CHECK(count("<think>") <= 1, "a forged thought");
    }
  }
  return 0;
}
