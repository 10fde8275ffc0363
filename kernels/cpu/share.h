// How is one operation cut for the lanes? Into chunks that any lane may take; the chunk decides
// which outputs are computed, never how, so the cut can not change a bit. Work too small to pay for
// waking a lane stays inline.
#pragma once

#include <algorithm>
#include <atomic>

#include "kernels/ops.h"

namespace fathom {

// Below about 10 us of work (100k multiply-adds at 10 per ns) a hand-over costs more than it saves.
inline constexpr int64_t kInlineWork = 100'000;

inline int lanes_for(const OpContext& ctx, int64_t chunks, int64_t work) {
  if (!ctx.lanes || work < kInlineWork) return 1;
  return static_cast<int>(std::clamp<int64_t>(chunks, 1, ctx.lanes->count()));
}

// Calls fn(lane, chunk) for every chunk; `lane` < lanes names a workspace that no other call uses
// meanwhile. A lane has a run of neighbouring chunks, so that it reads on where it was, and takes
// from the others' runs when it is through.
template <class F>
void share(const OpContext& ctx, int lanes, int chunks, F&& fn) {
  constexpr int kLanesMost = 128;
  lanes = std::min({lanes, chunks, kLanesMost});
  if (lanes <= 1) {
    for (int chunk = 0; chunk < chunks; ++chunk) fn(0, chunk);
    return;
  }
  std::atomic<int> next[kLanesMost];
  const auto begin = [&](int lane) { return static_cast<int>(int64_t{chunks} * lane / lanes); };
  for (int lane = 0; lane < lanes; ++lane) next[lane].store(begin(lane), std::memory_order_relaxed);
  ctx.lanes->each(lanes, [&](int lane) {
    for (int i = 0; i < lanes; ++i) {
      const int of = (lane + i) % lanes, end = begin(of + 1);
      for (int chunk; (chunk = next[of].fetch_add(1, std::memory_order_relaxed)) < end;)
        fn(lane, chunk);
    }
  });
}

// Runs fn(row) for all rows; `work` estimates all of them in multiply-adds.
template <class F>
void share_rows(const OpContext& ctx, int32_t rows, int64_t work, F&& fn) {
  const int lanes = lanes_for(ctx, rows, work);
  const int chunks = std::min(rows, lanes * 4);
  share(ctx, lanes, chunks, [&](int, int chunk) {
    const auto begin = static_cast<int32_t>(int64_t{rows} * chunk / chunks);
    const auto end = static_cast<int32_t>(int64_t{rows} * (chunk + 1) / chunks);
    for (int32_t row = begin; row < end; ++row) fn(row);
  });
}

// Gives the workspace of one operation back when it ends.
class Workspace {
 public:
  explicit Workspace(const OpContext& ctx) : scratch_(*ctx.scratch), mark_(scratch_.mark()) {}
  ~Workspace() { scratch_.rewind(mark_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  template <class T>
  T* take(int64_t n) {
    return static_cast<T*>(scratch_.take(static_cast<size_t>(n) * sizeof(T)));
  }

 private:
  Scratch& scratch_;
  size_t mark_;
};

}  // namespace fathom
