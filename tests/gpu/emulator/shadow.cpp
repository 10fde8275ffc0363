#include "tests/gpu/emulator/shadow.h"

#include <algorithm>

namespace emulated {
namespace {

// Which earlier accesses, other than stores, must come before.
bool conflict(Access earlier, Access later) {
  return later == Access::write || (earlier == Access::atomic) != (later == Access::atomic);
}

bool same(const Touch& a, const Touch& b) {
  return a.actor == b.actor && a.epoch == b.epoch && a.how == b.how && a.async == b.async;
}

}  // namespace

// A store that the async proxy is to see needs a fence; what was read and is then overwritten does
// not.
bool View::comes_after(const Touch& earlier, bool async) const {
  const bool fenced = async && !earlier.async && earlier.how != Access::read;
  if (earlier.actor == self) return !fenced || earlier.epoch <= own_shown;
  if (earlier.epoch <= Known::at(fenced ? known->shown : known->seen, earlier.actor)) return true;
  return earlier.how == Access::read && earlier.epoch <= Known::at(known->loaded, earlier.actor);
}

// All at once, and one by one only to say who does not come before.
std::optional<Touch> Shadow::Crowd::before(const View& view) const {
  const auto& seen = view.known->seen;
  const size_t known = std::min(epochs.size(), seen.size());
  Epoch beyond = 0;
  for (size_t a = 0; a < known; ++a) beyond |= epochs[a] > seen[a] ? 1u : 0u;
  for (size_t a = known; a < epochs.size(); ++a) beyond |= epochs[a];
  if (beyond == 0) return {};
  Touch one = {.how = Access::read, .code = code};
  for (size_t a = 0; a < epochs.size(); ++a) {
    one.actor = static_cast<Actor>(a);
    one.epoch = epochs[a];
    if (one.epoch != 0 && !view.comes_after(one, false)) return one;
  }
  return {};
}

void Shadow::Crowd::add(const Touch& touch) {
  if (epochs.size() <= touch.actor) epochs.resize(size_t{touch.actor} + 1);
  epochs[touch.actor] = std::max(epochs[touch.actor], touch.epoch);
  code = touch.code;
}

std::optional<Touch> Shadow::touch(Cell& cell, const Touch& touch, const View& view) {
  const Crowd* const crowd =
      cell.crowd != nullptr && !cell.crowd->epochs.empty() ? cell.crowd.get() : nullptr;
  if (touch.how == Access::read) {
    if (crowd != nullptr && Known::at(crowd->epochs, touch.actor) == touch.epoch) return {};
    for (size_t i = 0; i < cell.count; ++i)
      if (same(cell.since[i], touch)) return {};
  }
  if (cell.written.epoch != 0 && !view.comes_after(cell.written, touch.async)) return cell.written;
  if (touch.how != Access::read || cell.changed) {
    for (size_t i = 0; i < cell.count; ++i)
      if (conflict(cell.since[i].how, touch.how) && !view.comes_after(cell.since[i], touch.async))
        return cell.since[i];
    for (const Touch& change : cell.changes)
      if (conflict(change.how, touch.how) && !view.comes_after(change, touch.async)) return change;
  }
  if (touch.how != Access::read && crowd != nullptr)
    if (const auto other = crowd->before(view)) return other;
  if (touch.how == Access::write)
    cell.store(touch);
  else
    cell.remember(touch, view);
  return {};
}

void Shadow::Cell::store(const Touch& touch) {
  written = touch;
  count = 0;
  changed = false;
  changes.clear();
  if (crowd != nullptr) crowd->epochs.clear();
}

// Who comes after one that is remembered takes its place: a store behind the later is behind both.
void Shadow::Cell::remember(const Touch& touch, const View& view) {
  const bool changes_it = touch.how == Access::atomic;
  changed = changed || changes_it;
  if (!changes_it && crowd != nullptr && !crowd->epochs.empty()) return crowd->add(touch);
  for (size_t i = 0; i < count; ++i) {
    Touch& s = since[i];
    if (s.how != touch.how || s.async != touch.async || !view.comes_after(s, touch.async)) continue;
    s = touch;
    return;
  }
  if (count < since.size()) {
    since[count++] = touch;
  } else if (changes_it) {
    std::erase_if(changes, [&](const Touch& c) { return view.comes_after(c, touch.async); });
    changes.push_back(touch);
  } else {
    if (crowd == nullptr) crowd = std::make_unique<Crowd>();
    crowd->add(touch);
  }
}

void Shadow::split(Cell& cell) {
  auto halves = std::make_unique<Cell[]>(2);
  for (int i = 0; i < 2; ++i) {
    Cell& half = halves[i];
    half.written = cell.written;
    half.since = cell.since;
    half.count = cell.count;
    half.changed = cell.changed;
    half.changes = cell.changes;
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
    cell.halves = nullptr;
    cell.store(t);
  }
  return {};
}

std::optional<Touch> Shadow::touch(uint32_t place, uint32_t bytes, const Touch& t,
                                   const View& view) {
  const uint32_t end = place + bytes;
  if (words_.size() < (end + 3) / 4) words_.resize((end + 3) / 4);
  for (uint32_t word = place / 4; word * 4 < end; ++word) {
    Cell& cell = words_[word];
    if (cell.turn != turn_) {
      cell.turn = turn_;
      cell.halves = nullptr;
      cell.store({});
    }
    const auto other = touch(cell, {word * 4, word * 4 + 4}, {place, end}, t, view);
    if (other) return other;
  }
  return {};
}

}  // namespace emulated
