// How do the ranks of a process run a step? Each on its own thread, which says the step's
// operations and a mark behind them; on a GPU they are done later, when that mark is reached. So
// the next step can be said meanwhile. A rank that fails lets nobody wait for it.
#include <algorithm>
#include <mutex>
#include <new>

#include "engine/model_ranks.h"

namespace fathom {
namespace {

// A step that finds no memory breaks the group, not the process.
template <class F>
Status within_memory(int32_t rows, const F& step) {
  try {
    return step();
  } catch (const std::bad_alloc&) {
    return Error{
        Code::resource_exhausted,
        "no memory is left for the activations of a step of " + std::to_string(rows) + " rows",
        "step_token_budget"};
  }
}

}  // namespace

TokenId* ModelRanks::drawn(int32_t local, int64_t count) {
  constexpr int64_t kDrawsMin = 512;  // so that it hardly ever grows: that stops the device
  Buffer<TokenId>& drawn = *ranks_[static_cast<size_t>(local)].drawn;
  drawn.at_least(std::max(count, kDrawsMin));
  return drawn.data();
}

Status ModelRanks::share_drawn(int32_t local, int32_t count) {
  Rank& rank = ranks_[static_cast<size_t>(local)];
  if (size_ == 1) return {};
  return said(local, within_memory(count, [&]() -> Status {
                TokenId* const ids = drawn(local, count);
                if (rank.collectives) return rank.collectives->broadcast(ids, count, 0);
                const std::span bytes(reinterpret_cast<std::byte*>(ids),
                                      static_cast<size_t>(count) * sizeof(TokenId));
                return rank.comm->broadcast(bytes, 0);
              }));
}

Status ModelRanks::forward(int32_t local, const Batch& batch, const LogitsSink& sink) {
  return said(local, within_memory(batch.rows(), [&] {
                return ranks_[static_cast<size_t>(local)].forward->forward(batch, sink);
              }));
}

// A rank that gives up releases the others, on the host and on the devices.
Status ModelRanks::said(int32_t local, Status status) {
  if (status.ok()) return status;
  Rank& rank = ranks_[static_cast<size_t>(local)];
  give_up();
  rank.collectives.reset();
  rank.forward.reset();
  return status;
}

void ModelRanks::mark(int32_t local) {
  Rank& rank = ranks_[static_cast<size_t>(local)];
  CHECK(rank.marked - rank.reached < rank.marks.size());
  rank.marks[rank.marked++ % rank.marks.size()]->begin(nullptr, 0);
}

// Engines that share experts are left in step by the thread that says their operations alone.
Status ModelRanks::reach(int32_t local) {
  Rank& rank = ranks_[static_cast<size_t>(local)];
  CHECK(rank.reached < rank.marked);
  Download& mark = *rank.marks[rank.reached++ % rank.marks.size()];
  if (rank.collectives) return said(local, rank.collectives->finish(mark));
  if (exchange_) return exchange_->finish(mark);
  if (const auto done = mark.finish(); !done.ok()) return said(local, done.error());
  return {};
}

// The caller ends the step: this may be inside of the rank's forward.
Status ModelRanks::settle(int32_t local) {
  Rank& rank = ranks_[static_cast<size_t>(local)];
  if (!rank.collectives) return {};
  rank.halfway->begin(nullptr, 0);
  return rank.collectives->finish(*rank.halfway);
}

Status ModelRanks::reach() {
  if (ranks_.size() == 1) return reach(0);
  if (gpus_.empty()) {
    for (int32_t local = 0; local < threads_->count(); ++local) FATHOM_CHECKED(reach(local));
    return {};
  }
  Status result;
  std::mutex mutex;
  threads_->run([&](int32_t local) {
    const Status reached = reach(local);
    const std::scoped_lock lock(mutex);
    if (!reached.ok() && result.ok()) result = reached;
  });
  return result;
}

void ModelRanks::give_up() {
  barrier_->give_up();
  if (exchange_) exchange_->leave();
}

Status ModelRanks::draft(int32_t local, const Batch& batch, std::span<const int32_t> from,
                         const LogitsSink& sink) {
  return said(local, within_memory(batch.rows(), [&] {
                return ranks_[static_cast<size_t>(local)].forward->draft(batch, from, sink);
              }));
}

Status ModelRanks::assist() {
  while (true) {
    FATHOM_TRY(const AssistedPass pass, exchange_->join());
    if (pass.what == ExpertPass::none) return {};
    FATHOM_CHECKED(said(0, within_memory(0, [&] { return ranks_.front().forward->assist(pass); })));
  }
}

}  // namespace fathom
