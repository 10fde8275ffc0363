#include "text/chat_templates.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>

namespace fathom {
namespace {

constexpr std::array<ChatStyle, 4> kStyles = {{
    {.name = "deepseek-v3", .fingerprint = 0xaeef296221187973, .family = ChatFamily::deepseek_v3},
    {.name = "deepseek-r1",
     .fingerprint = 0x56a138c31521e7c8,
     .family = ChatFamily::deepseek_r1,
     .strip_thinking = true,
     .open_thinking = true,
     .plain_start = ReasoningStart::maybe},
    {.name = "deepseek-r1-first",
     .fingerprint = 0x6d68488b86e2e184,
     .family = ChatFamily::deepseek_r1,
     .strip_thinking = true,
     .plain_start = ReasoningStart::maybe},
    {.name = "deepseek-r1-distill",
     .fingerprint = 0x55b25ceb4910aa64,
     .family = ChatFamily::deepseek_v3,
     .join_systems = false,
     .strip_thinking = true,
     .open_thinking = true,
     .plain_start = ReasoningStart::maybe},
}};

}  // namespace

uint64_t template_fingerprint(std::string_view text) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  text = text.substr(0, last == std::string_view::npos ? 0 : last + 1);
  std::string spelled;
  spelled.reserve(text.size());
  for (const char c : text) {
    if (c == '\n')
      spelled += "\\n";
    else
      spelled += c;
  }
  return XXH3_64bits(spelled.data(), spelled.size());
}

const ChatStyle* find_chat_style(std::string_view name) {
  for (const ChatStyle& style : kStyles)
    if (style.name == name) return &style;
  return nullptr;
}

const ChatStyle* find_chat_style(uint64_t fingerprint) {
  for (const ChatStyle& style : kStyles)
    if (style.fingerprint == fingerprint) return &style;
  return nullptr;
}

}  // namespace fathom
