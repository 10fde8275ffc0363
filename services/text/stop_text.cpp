#include "text/stop_text.h"

#include <algorithm>

namespace fathom {

StopText::StopText(std::vector<std::string> stops, bool include_stop)
    : include_stop_(include_stop) {
  for (std::string& text : stops) {
    if (text.empty()) continue;
    std::vector<size_t> fallback(text.size(), 0);
    for (size_t i = 1, border = 0; i < text.size(); ++i) {
      while (border > 0 && text[i] != text[border]) border = fallback[border - 1];
      if (text[i] == text[border]) ++border;
      fallback[i] = border;
    }
    stops_.push_back({std::move(text), std::move(fallback)});
  }
}

bool StopText::Stop::step(char c) {
  while (matched > 0 && text[matched] != c) matched = fallback[matched - 1];
  if (text[matched] == c) ++matched;
  return matched == text.size();
}

bool StopText::push(std::string_view text, std::string& out) {
  if (found_) return true;
  const size_t before = held_.size();
  held_ += text;
  size_t longest = 0;  // how much of the end may be the start of a stop string
  for (size_t i = before; i < held_.size(); ++i) {
    size_t stopped = 0;
    longest = 0;
    for (Stop& stop : stops_) {
      if (stop.step(held_[i])) stopped = std::max(stopped, stop.text.size());
      longest = std::max(longest, stop.matched);
    }
    if (stopped == 0) continue;
    found_ = true;
    out.append(held_, 0, include_stop_ ? i + 1 : i + 1 - stopped);
    held_.clear();
    return true;
  }
  if (text.empty()) return false;
  out.append(held_, 0, held_.size() - longest);
  held_.erase(0, held_.size() - longest);
  return false;
}

void StopText::flush(std::string& out) {
  out += held_;
  held_.clear();
}

}  // namespace fathom
