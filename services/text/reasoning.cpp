#include "text/reasoning.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";

// How much of the end of `text` could be the start of `marker`.
size_t tail_of(std::string_view text, std::string_view marker) {
  for (size_t size = std::min(text.size(), marker.size() - 1); size > 0; --size)
    if (text.ends_with(marker.substr(0, size))) return size;
  return 0;
}

}  // namespace

ReasoningParser::ReasoningParser(ReasoningStart start)
    : mode_(start == ReasoningStart::none     ? Mode::content
            : start == ReasoningStart::inside ? Mode::reasoning
                                              : Mode::deciding) {}

void ReasoningParser::swallow_newlines() {
  size_t count = 0;
  while (newlines_to_swallow_ > 0 && count < held_.size() && held_[count] == '\n') {
    ++count;
    --newlines_to_swallow_;
  }
  held_.erase(0, count);
  if (!held_.empty()) newlines_to_swallow_ = 0;
}

// Each step below returns true if the mode changed and the rest of held_ must be looked at again.

bool ReasoningParser::decide(bool last, Parts&) {
  if (held_.starts_with(kOpen)) {
    held_.erase(0, kOpen.size());
    mode_ = Mode::reasoning;
    newlines_to_swallow_ = 1;
    return true;
  }
  if (!last && kOpen.starts_with(held_)) return false;
  mode_ = Mode::content;
  return true;
}

bool ReasoningParser::reason(bool last, Parts& out) {
  const size_t open = held_.find(kOpen);
  const size_t close = held_.find(kClose);
  const size_t marker = std::min(open, close);
  if (marker != std::string::npos) {
    out.reasoning.append(held_, 0, marker);
    held_.erase(0, marker + (marker == close ? kClose.size() : kOpen.size()));
    newlines_to_swallow_ = marker == close ? 2 : 1;
    if (marker == close) mode_ = Mode::content;
    return true;
  }
  const size_t tail = last ? 0 : std::max(tail_of(held_, kOpen), tail_of(held_, kClose));
  out.reasoning.append(held_, 0, held_.size() - tail);
  held_.erase(0, held_.size() - tail);
  return false;
}

void ReasoningParser::push(std::string_view text, Parts& out) {
  held_ += text;
  bool again = true;
  while (again) {
    swallow_newlines();
    if (mode_ == Mode::content) break;
    again = mode_ == Mode::deciding ? decide(false, out) : reason(false, out);
  }
  if (mode_ != Mode::content) return;
  out.content += held_;
  held_.clear();
}

void ReasoningParser::flush(Parts& out) {
  if (mode_ == Mode::deciding) decide(true, out);
  if (mode_ == Mode::reasoning) reason(true, out);
  out.content += held_;
  held_.clear();
}

}  // namespace fathom
