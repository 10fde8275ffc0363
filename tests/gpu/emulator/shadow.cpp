#include "tests/gpu/emulator/shadow.h"

#include <algorithm>

namespace emulated {
namespace {

// Which earlier accesses, other than stores, must come before.
bool conflict(Access earlier, Access later) {
  return later == Access::write || (earlier == Access::atomic) != (later == Access::atomic);
}

size_t line_of(Access how) { return how == Access::atomic ? 1 : 0; }

}  // namespace

// A store that the async proxy is to see needs a fence; what was read and is then overwritten does
// not.
bool View::comes_after(const Touch& earlier, bool async) const {
  const bool fenced = async && !earlier.async && earlier.how != Access::read;
  if (earlier.actor == self) return !fenced || earlier.epoch <= own_shown;
  if (earlier.epoch <= Known::at(fenced ? known->shown : known->seen, earlier.actor)) return true;
  return earlier.how == Access::read && earlier.epoch <= Known::at(known->loaded, earlier.actor);
}

std::optional<Touch> Shadow::touch(Cell& cell, const Touch& touch, const View& view) {
  const bool stores = touch.how == Access::write;
  if (stores) {
    const Touch& w = cell.written;
    if (cell.count == 0 && cell.crowd == nullptr && w.actor == touch.actor &&
        w.epoch == touch.epoch && w.async == touch.async)
      return {};
  } else {
    for (size_t i = 0; i < cell.count; ++i) {
      const Touch& s = cell.since[i];
      if (s.actor == touch.actor && s.epoch == touch.epoch && s.how == touch.how &&
          s.async == touch.async)
        return {};
    }
  }
  if (cell.written.epoch != 0 && !view.comes_after(cell.written, touch.async)) return cell.written;
  for (size_t i = 0; i < cell.count; ++i)
    if (conflict(cell.since[i].how, touch.how) && !view.comes_after(cell.since[i], touch.async))
      return cell.since[i];
  if (cell.crowd != nullptr)
    for (const Access how : {Access::read, Access::atomic}) {
      if (!conflict(how, touch.how)) continue;
      const auto& epochs = cell.crowd->epochs[line_of(how)];
      Touch one = {.how = how, .code = cell.crowd->code[line_of(how)]};
      for (size_t actor = 0; actor < epochs.size(); ++actor) {
        one.actor = static_cast<Actor>(actor);
        one.epoch = epochs[actor];
        if (one.epoch != 0 && !view.comes_after(one, touch.async)) return one;
      }
    }
  if (stores) {
    cell.written = touch;
    cell.count = 0;
    cell.crowd = nullptr;
  } else {
    remember(cell, touch, view);
  }
  return {};
}

// Who comes after one that is remembered takes its place: a store behind the later is behind both.
void Shadow::remember(Cell& cell, const Touch& touch, const View& view) {
  for (size_t i = 0; i < cell.count; ++i) {
    Touch& s = cell.since[i];
    if (s.how != touch.how || s.async != touch.async || !view.comes_after(s, touch.async)) continue;
    s = touch;
    return;
  }
  if (cell.count < cell.since.size()) {
    cell.since[cell.count++] = touch;
    return;
  }
  if (cell.crowd == nullptr) cell.crowd = std::make_unique<Crowd>();
  auto& epochs = cell.crowd->epochs[line_of(touch.how)];
  if (epochs.size() <= touch.actor) epochs.resize(size_t{touch.actor} + 1);
  epochs[touch.actor] = std::max(epochs[touch.actor], touch.epoch);
  cell.crowd->code[line_of(touch.how)] = touch.code;
}

void Shadow::split(Cell& cell) {
  auto halves = std::make_unique<Cell[]>(2);
  for (int i = 0; i < 2; ++i) {
    Cell& half = halves[i];
    half.written = cell.written;
    half.since = cell.since;
    half.count = cell.count;
    if (cell.crowd != nullptr) half.crowd = std::make_unique<Crowd>(*cell.crowd);
  }
  cell.halves = std::move(halves);
}

std::optional<Touch> Shadow::touch(Cell& cell, Bytes all, Bytes touched, const Touch& t,
                                   const View& view) {
  const bool whole = touched.begin <= all.begin && touched.end >= all.end;
  if (whole && cell.halves == nullptr) return touch(cell, t, view);
  if (cell.halves == nullptr) split(cell);
  const uint32_t middle = (all.begin + all.end) / 2;
  if (touched.begin < middle)
    if (const auto other = touch(cell.halves[0], {all.begin, middle}, touched, t, view))
      return other;
  if (touched.end > middle)
    if (const auto other = touch(cell.halves[1], {middle, all.end}, touched, t, view)) return other;
  if (whole && t.how == Access::write) {  // they are one again
    cell = {};
    cell.written = t;
  }
  return {};
}

std::optional<Touch> Shadow::touch(uint32_t place, uint32_t bytes, const Touch& t,
                                   const View& view) {
  const uint32_t end = place + bytes;
  if (words_.size() < (end + 3) / 4) words_.resize((end + 3) / 4);
  for (uint32_t word = place / 4; word * 4 < end; ++word) {
    const auto other = touch(words_[word], {word * 4, word * 4 + 4}, {place, end}, t, view);
    if (other) return other;
  }
  return {};
}

}  // namespace emulated
