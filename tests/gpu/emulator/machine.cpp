#include "tests/gpu/emulator/machine.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace emulated {
namespace {

constexpr size_t kPage = 4096, kAlignment = 256;
constexpr size_t kPoisoned = size_t{16} << 20;  // larger memory starts as zeros, unwritten
constexpr auto kCanary = std::byte{0xA5};

size_t up(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace

Machine& machine() {
  static Machine only;
  return only;
}

void Machine::set_up(const MachineConfig& config) {
  config_ = config;
  schedule_ = Schedule(config.seed);
}

// The end of the memory, rounded up to the alignment, is the end of a page.
void* Machine::allocate(int gpu, size_t bytes) {
  if (bytes > config_.memory_bytes - used_[gpu]) return nullptr;
  const size_t room = up(bytes, kAlignment), mapped = up(room, kPage) + kPage;
  void* const mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  mprotect(static_cast<std::byte*>(mapping) + mapped - kPage, kPage, PROT_NONE);
  std::byte* const at = static_cast<std::byte*>(mapping) + mapped - kPage - room;
  if (room <= kPoisoned) std::memset(at, 0xFF, room);
  std::memset(at + bytes, static_cast<int>(kCanary), room - bytes);
  allocations_[at] = {gpu, bytes, mapping, mapped};
  used_[gpu] += bytes;
  return at;
}

bool Machine::release(void* memory) {
  const auto found = allocations_.find(memory);
  if (found == allocations_.end()) return false;
  const Allocation& a = found->second;
  const auto* end = static_cast<const std::byte*>(memory) + a.bytes;
  for (size_t i = 0; i < up(a.bytes, kAlignment) - a.bytes; ++i)
    if (end[i] != kCanary) {
      std::fprintf(stderr, "emulated GPU: something wrote %zu bytes behind the end of %zu\n", i,
                   a.bytes);
      std::abort();
    }
  used_[a.gpu] -= a.bytes;
  munmap(a.mapping, a.mapped);
  allocations_.erase(found);
  return true;
}

size_t Machine::used(int gpu) const {
  const auto found = used_.find(gpu);
  return found == used_.end() ? 0 : found->second;
}

bool Machine::holds(const void* at, size_t bytes) const {
  auto after = allocations_.upper_bound(at);
  if (after == allocations_.begin()) return false;
  const auto& [base, a] = *--after;
  const auto* end = static_cast<const std::byte*>(base) + a.bytes;
  return static_cast<const std::byte*>(at) + bytes <= end;
}

int Machine::gpu_of(const void* at) const {
  return holds(at, 1) ? std::prev(allocations_.upper_bound(at))->second.gpu : -1;
}

Machine::Health Machine::before_work(int gpu, bool replayed) {
  const auto found = mishaps.find(gpu);
  if (found == mishaps.end()) return Health::well;
  Mishap& mishap = found->second;
  mishap.happened |= replayed && mishap.after == 0;
  if (!mishap.happened) return Health::well;
  return mishap.kind == Mishap::Kind::fails ? Health::fails : Health::hangs;
}

void Machine::did_work(int gpu, bool replayed) {
  if (!replayed) return;
  if (const auto found = mishaps.find(gpu); found != mishaps.end() && found->second.after > 0)
    --found->second.after;
}

std::chrono::nanoseconds Machine::clock() {
  for (const auto& [gpu, mishap] : mishaps)
    if (mishap.kind == Mishap::Kind::hangs && mishap.happened) flown_ += std::chrono::seconds(1);
  return std::chrono::steady_clock::now().time_since_epoch() + flown_;
}

void* Machine::pin(size_t bytes) {
  void* memory = std::aligned_alloc(kPage, up(bytes, kPage));
  pinned_[memory] = bytes;
  return memory;
}

bool Machine::unpin(void* memory) {
  if (pinned_.erase(memory) == 0) return false;
  std::free(memory);
  return true;
}

bool Machine::is_pinned(const void* at) const {
  auto after = pinned_.upper_bound(at);
  if (after == pinned_.begin()) return false;
  const auto& [base, bytes] = *--after;
  return static_cast<const std::byte*>(at) < static_cast<const std::byte*>(base) + bytes;
}

}  // namespace emulated
