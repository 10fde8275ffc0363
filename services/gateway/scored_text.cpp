#include "gateway/scored_text.h"

#include <algorithm>
#include <utility>

namespace fathom {

void ScoredText::add(ScoredToken scored, int64_t begin) {
  waiting_.push_back({std::move(scored), begin, -1});
}

void ScoredText::decoded(int64_t end) {
  for (auto w = waiting_.rbegin(); w != waiting_.rend() && w->end < 0; ++w) w->end = end;
}

void ScoredText::visible(int64_t begin, int64_t size) {
  if (!pieces_.empty() && pieces_.back().end == begin) {
    pieces_.back().end += size;
  } else {
    pieces_.push_back({begin, begin + size, visible_});
  }
  visible_ += size;
}

ScoredText::Reach ScoredText::reach(const Waiting& token) const {
  Reach out;
  for (const Piece& piece : pieces_) {
    const int64_t begin = std::max(piece.begin, token.begin);
    const int64_t end = std::min(piece.end, token.end);
    if (begin >= end) continue;
    if (out.first < 0) out.first = piece.before + begin - piece.begin + 1;
    out.all = piece.before + end - piece.begin;
  }
  return out;
}

void ScoredText::release(bool all, std::vector<ScoredToken>& out) {
  while (!waiting_.empty()) {
    Waiting& next = waiting_.front();
    if (!all && (next.end < 0 || next.end > certain_)) return;
    while (!pieces_.empty() && pieces_.front().end <= next.begin && pieces_.size() > 1)
      pieces_.pop_front();
    const Reach text = reach(next);
    if (text.all >= 0) {
      if (!all && text.all > shown_) return;
      if (text.first <= shown_) out.push_back(std::move(next.scored));
    }
    waiting_.pop_front();
  }
}

}  // namespace fathom
