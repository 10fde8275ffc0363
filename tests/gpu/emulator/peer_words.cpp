#include "tests/gpu/emulator/peer_words.h"

#include <algorithm>

namespace emulated {

void PeerWords::clear() {
  std::ranges::fill(touched_, Last{});
  std::ranges::fill(said_, Last{});
  sayers_.clear();
}

std::optional<PeerWords::Met> PeerWords::touch(const Clock& clock, uint32_t code) {
  touched_[clock.self] = {clock.own, code};
  for (const Actor sayer : sayers_) {
    const Last& said = said_[sayer];
    if (sayer / each_ == clock.self / each_ && sayer != clock.self && !behind(clock, sayer, said))
      return Met{sayer, said.code};
  }
  return {};
}

std::optional<PeerWords::Met> PeerWords::word(const Clock& clock, uint32_t code) {
  if (said_[clock.self].epoch == 0) sayers_.push_back(clock.self);
  said_[clock.self] = {clock.own, code};
  const size_t first = clock.self / each_ * each_;
  for (size_t t = first; t < first + each_; ++t)
    if (t != clock.self && !behind(clock, static_cast<Actor>(t), touched_[t]))
      return Met{static_cast<Actor>(t), touched_[t].code};
  return {};
}

}  // namespace emulated
