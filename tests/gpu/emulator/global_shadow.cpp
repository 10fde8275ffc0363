#include "tests/gpu/emulator/global_shadow.h"

#include <algorithm>
#include <span>

#include "tests/gpu/emulator/machine.h"

namespace emulated {

std::optional<GlobalShadow::Touch> GlobalShadow::Cell::touch(const Touch& t) {
  const uint32_t mine = t.cluster + 1;
  // Most touches: of what nobody stores.
  if (t.how == Access::read && read[0].cluster == mine && stored.cluster == 0 &&
      changed[0].cluster == 0)
    return {};
  std::optional<Touch> met;
  const auto meet = [&](std::span<const By> others, Access how) {
    for (const By& other : others)
      if (!met && other.cluster != 0 && other.cluster != mine)
        met = Touch{how, other.cluster - 1, other.code};
  };
  meet({&stored, 1}, Access::write);
  if (t.how != Access::read) meet(read, Access::read);
  if (t.how != Access::atomic) meet(changed, Access::atomic);
  if (t.how == Access::write) {
    stored = {mine, t.code};
    return met;
  }
  By* const all = t.how == Access::read ? read : changed;
  if (all[0].cluster == 0 || all[0].cluster == mine)
    all[0] = {mine, t.code};
  else
    all[1] = {mine, t.code};
  return met;
}

void GlobalShadow::Page::refine(size_t to) {
  std::vector<Cell> finer(kPage / to);
  for (size_t i = 0; i < finer.size(); ++i) finer[i] = cells[i * to / unit];
  cells = std::move(finer);
  unit = to;
}

GlobalShadow::Page& GlobalShadow::page_of(const std::byte* at) {
  const uintptr_t number = reinterpret_cast<uintptr_t>(at) / kPage;
  Found& found = found_[number % found_.size()];
  if (found.page != nullptr && found.number == number) return *found.page;
  const auto [entry, is_new] = pages_.try_emplace(number);
  Page& page = entry->second;
  if (is_new) page.gpu = machine().gpu_of(at);  // a page has no two kinds of memory
  if (is_new && page.gpu >= 0) page.cells.resize(kPage / page.unit);
  found = {number, &page};
  return page;
}

std::optional<GlobalShadow::Touch> GlobalShadow::touch(const std::byte* at, size_t bytes,
                                                       const Touch& touch) {
  for (const std::byte* const end = at + bytes; at < end;) {
    Page& page = page_of(at);
    const size_t begin = reinterpret_cast<uintptr_t>(at) % kPage;
    const size_t inside = std::min(static_cast<size_t>(end - at), kPage - begin);
    at += inside;
    if (page.gpu < 0) continue;
    while ((begin | inside) % page.unit != 0) page.refine(page.unit / 2);
    for (size_t i = begin / page.unit; i < (begin + inside) / page.unit; ++i)
      if (const auto met = page.cells[i].touch(touch)) return met;
  }
  return {};
}

}  // namespace emulated
