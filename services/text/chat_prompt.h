// What is a prompt made of while it is rendered? Markers, which are one id each, and text, which
// never becomes one. Text between two markers is encoded in one go, as it would be in the rendered
// string, so the ids equal those of the published rendering whenever no text contains a marker.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "text/chat_format.h"

namespace fathom {

enum class ChatMarker : uint8_t {
  bos,
  eos,
  user,
  assistant,
  calls_begin,
  calls_end,
  call_begin,
  call_end,
  sep,
  outputs_begin,
  outputs_end,
  output_begin,
  output_end,
  think,
};
inline constexpr size_t kChatMarkers = 14;

// The text and the id of every marker of a format.
struct ChatMarkers {
  std::array<std::string, kChatMarkers> text;
  std::array<TokenId, kChatMarkers> id{};

  // DeepSeek's names. FAILED_PRECONDITION naming a marker that is not one added token; <think> may
  // be missing unless `needs_think`.
  static Result<ChatMarkers> find(const Tokenizer& tokenizer, std::string_view bos,
                                  bool needs_think);
};

class ChatPrompt {
 public:
  ChatPrompt(const Tokenizer& tokenizer, const ChatMarkers& markers)
      : tokenizer_(tokenizer), markers_(markers) {}
  ChatPrompt& marker(ChatMarker marker);
  ChatPrompt& text(std::string_view text);
  EncodedChat finish(ReasoningStart reasoning);

 private:
  void encode_pending();
  const Tokenizer& tokenizer_;
  const ChatMarkers& markers_;
  EncodedChat chat_;
  size_t pending_ = 0;  // chat_.text from here is not encoded yet
};

}  // namespace fathom
