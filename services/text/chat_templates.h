// Which chat formats are known? One line per published template: its name, the fingerprint of its
// text, and what renders it. A template that is not listed is refused; an interpreter for unknown
// templates would be one more entry point here, behind the same ChatFormat.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/chat_prompt.h"

namespace fathom {

// Who is known to have called tools: a null content (V3's templates) or the presence of tool_calls
// (R1's).
enum class ChatFamily : uint8_t { deepseek_v3, deepseek_r1 };

// What differs between templates of one family.
struct ChatStyle {
  std::string_view name;
  uint64_t fingerprint = 0;  // of the template's text, see template_fingerprint
  ChatFamily family = ChatFamily::deepseek_v3;
  bool join_systems =
      true;  // several system messages are joined by a blank line; else the last one counts
  bool strip_thinking = false;  // of history: all up to the last </think> is lost
  bool open_thinking = false;   // the generation prompt ends with <think>\n
  ReasoningStart plain_start = ReasoningStart::none;  // where output begins without open_thinking
};

// Of the text with line feeds written as \n and without white space at its end: the published files
// spell the same template both ways.
uint64_t template_fingerprint(std::string_view text);

const ChatStyle* find_chat_style(std::string_view name);
const ChatStyle* find_chat_style(uint64_t fingerprint);

std::shared_ptr<const ChatFormat> make_deepseek_v3(const ChatStyle& style, ChatMarkers markers,
                                                   std::shared_ptr<const Tokenizer> tokenizer);
std::shared_ptr<const ChatFormat> make_deepseek_r1(const ChatStyle& style, ChatMarkers markers,
                                                   std::shared_ptr<const Tokenizer> tokenizer);

}  // namespace fathom
