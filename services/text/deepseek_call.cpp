#include "text/deepseek_call.h"

#include <algorithm>

#include "text/tool_format.h"

namespace fathom {
namespace {

constexpr size_t kWordMax = 256;  // bytes of a type or a name
constexpr std::string_view kFence = "```";
constexpr size_t kFenceWordMax = 16;
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

Match match_at(std::string_view text, size_t at, std::string_view expected) {
  const std::string_view rest = text.substr(at);
  if (rest.starts_with(expected)) return Match::yes;
  return expected.starts_with(rest) ? Match::more : Match::no;
}

// A word up to the separator, or up to the end of its line.
struct Word {
  Match match = Match::no;
  std::string_view text;
  size_t behind = 0;
};

Word word_at(std::string_view text, size_t at, bool line) {
  const std::string_view rest = text.substr(at, kWordMax);
  const size_t end = rest.find_first_of("\n<");
  if (end == std::string_view::npos)
    return {rest.size() < kWordMax ? Match::more : Match::no, {}, 0};
  const Word found{Match::yes, rest.substr(0, end), at + end + 1};
  if (line) return rest[end] == '\n' ? found : Word{};
  Word word{match_at(text, at + end, kCallSep), rest.substr(0, end), at + end + kCallSep.size()};
  return rest[end] == '<' ? word : Word{};
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(skip_blank(text, 0));
  text.remove_suffix(blank_tail(text));
  return text;
}

// Behind the name's line: ``` with the rest of its line where that is a word, or the arguments.
void match_fence(std::string_view text, CallHead& head) {
  head.match = match_at(text, head.arguments, kFence);
  if (head.match == Match::more) return;
  const bool fence = head.match == Match::yes;
  head.match = Match::yes;
  if (!fence) return;
  const std::string_view behind = text.substr(head.arguments + kFence.size(), kFenceWordMax);
  const size_t word = std::min(behind.find_first_not_of(kLetters), behind.size());
  if (word == behind.size() && word < kFenceWordMax) head.match = Match::more;
  const bool line_ends = word < behind.size() && behind[word] == '\n';
  head.arguments += kFence.size() + (line_ends ? word + 1 : 0);
  head.fenced = true;
}

}  // namespace

CallHead match_deepseek_head(std::string_view text, bool named_line) {
  CallHead head;
  size_t at = skip_blank(text, 0);
  if (match_at(text, at, kCallsBegin) == Match::yes) at = skip_blank(text, at + kCallsBegin.size());
  if (head.match = match_at(text, at, kCallBegin); head.match != Match::yes) return head;
  Word word = word_at(text, at + kCallBegin.size(), false);
  if (head.match = word.match; head.match != Match::yes) return head;
  if (named_line) {
    word = word_at(text, word.behind, true);
    if (head.match = word.match; head.match != Match::yes) return head;
  }
  head.name = trimmed(word.text);
  head.arguments = word.behind;
  if (head.name.empty()) return {};
  if (named_line) match_fence(text, head);
  return head;
}

size_t arguments_end(std::string_view text, bool fenced, bool final) {
  size_t end = text.size() - blank_tail(text);
  if (!fenced) return end;
  size_t ticks = 0;
  while (ticks < std::min(end, kFence.size()) && text[end - 1 - ticks] == '`') ++ticks;
  if (ticks == 0 || (final && ticks < kFence.size())) return end;
  end -= ticks;
  return end - blank_tail(text.substr(0, end));
}

size_t marker_tail(std::string_view text, std::string_view marker) {
  for (size_t size = std::min(text.size(), marker.size() - 1); size > 0; --size)
    if (text.ends_with(marker.substr(0, size))) return size;
  return 0;
}

}  // namespace fathom
