#include "tests/gpu/emulator/grid.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/gpu/emulator/machine.h"

namespace emulated {

Thread* now = nullptr;
const ThreadPlace* here = nullptr;

namespace {

// Between kernels; device code runs in one thread of the host at a time.
struct Spare {
  Stacks stacks;
  std::vector<std::unique_ptr<SharedMemory>> shared;
};
Spare& spare() {
  static Spare kept;
  return kept;
}

Crew& crew() { return *now->block->crew; }

void leave() {
  Thread& self = *now;
  Crew& c = crew();
  Thread* to = c.faulted.empty() ? c.next() : nullptr;
  if (to == &self) return;
  now = to;
  here = to;
  runs_here(to);
  emulated_switch(&self.registers, to != nullptr ? to->registers : c.home);
  now = &self;
  here = &self;
  runs_here(&self);
}

void live() {
  now->block->grid->call();
  for (const auto& group : now->stores)
    if (*group != 0) fault("a thread ended while its bulk stores still read shared memory");
  now->ended = true;
  Crew& c = crew();
  c.thread_ended();
  now->block->thread_ended();
  if (now->block->alive == 0) now->block->grid->may_start_dependents(*now->block);
  while (true) leave();
}

}  // namespace

void let_others_run() { leave(); }
void let_other_gpus_run() {
  crew().asleep = true;
  leave();
}
void perhaps_let_others_run() {
  if (now->block->grid->schedule().once_in(2)) leave();
}

void enter(const char* name, int most_threads) { now->block->grid->entered(name, most_threads); }

void fault(const char* what) { fault(std::string(what)); }
void fault(const std::string& what) {
  crew().faulted = what;
  while (true) leave();
}

void later(bool in_order, std::function<void()> copy) {
  Crew& c = crew();
  c.under_way.push_back({in_order ? now : nullptr, std::move(copy)});
  if (now->block->grid->schedule().once_in(2)) c.do_copy(c.under_way.size() - 1);
}

// Or the first of the same thread.
void Crew::do_copy(size_t which) {
  const Thread* by = under_way[which].by;
  if (by != nullptr)
    for (size_t i = 0; i < which; ++i)
      if (under_way[i].by == by) which = i;
  const auto act = std::move(under_way[which].act);
  under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(which));
  act();
}

void Crew::arrive() {
  if (now->cluster_arrived) fault("a thread arrives twice at the barrier of its cluster");
  now->cluster_arrived = true;
  now->cluster_turn = cluster_turn;
  if (races != nullptr) races->arrive(cluster_told);
  now->cluster_told = cluster_told;
  ++arrived;
  if (arrived + gone == threads.size()) {
    arrived = 0;
    gone += gone_next;
    gone_next = 0;
    ++cluster_turn;
    cluster_told = nullptr;
  }
}

void Crew::thread_ended() {
  --alive;
  if (now->cluster_arrived && now->cluster_turn == cluster_turn) {
    ++gone_next;
    return;
  }
  ++gone;
  if (arrived > 0 && arrived + gone == threads.size()) {
    arrived = 0;
    gone += gone_next;
    gone_next = 0;
    ++cluster_turn;
    cluster_told = nullptr;
  }
}

// Who can go on, from the one behind the running one; or from anywhere, as the schedule draws. What
// is under way happens when nobody can, or now and then.
Thread* Crew::next() {
  if (paused || asleep) return nullptr;
  const size_t count = threads.size();
  if (alive == 0) {
    while (!under_way.empty()) do_copy(0);
    return nullptr;
  }
  Schedule& schedule = blocks.front()->grid->schedule();
  if (schedule.once_in(8)) turn = schedule.below(static_cast<uint32_t>(count));
  while (true) {
    if (!under_way.empty() && schedule.once_in(16))
      do_copy(schedule.below(static_cast<uint32_t>(under_way.size())));
    for (size_t i = 0; i < count; ++i) {
      if (++turn >= count) turn = 0;
      Thread* t = threads[turn].get();
      if (t->ended || (t->may_go_on != nullptr && !t->may_go_on(t->asked))) continue;
      return t;
    }
    if (under_way.empty()) return nullptr;
    // No thread can go on before one of them completes something.
    const uint64_t before = progress;
    while (!under_way.empty() && progress == before)
      do_copy(schedule.below(static_cast<uint32_t>(under_way.size())));
  }
}

Grid::Grid(const Shape& shape, std::function<void()> body)
    : shape_(shape), body_(std::move(body)), shared_end_(kSharedBegin + shape.dynamic_shared) {
  order_.resize(clusters());
  std::iota(order_.begin(), order_.end(), uint64_t{0});
  released_.resize(clusters() * shape_.cluster);
}

Grid::~Grid() {
  dismiss(std::move(crew_));
  for (auto& crew : asleep_) dismiss(std::move(crew));
}

uint64_t Grid::clusters() const {
  return uint64_t{shape_.grid.x} * shape_.grid.y * shape_.grid.z / shape_.cluster;
}

uint32_t Grid::place_of(const void* key, uint32_t bytes, uint32_t alignment) {
  for (const Variable& v : variables_)
    if (v.key == key) return v.place;
  const uint32_t place = (shared_end_ + alignment - 1) / alignment * alignment;
  if (place + bytes > kSharedBegin + kSharedLimit) fault("more than 227 KB of shared memory");
  variables_.push_back({key, place});
  shared_end_ = place + bytes;
  return place;
}

void Grid::entered(const char* name, int most_threads) {
  if (now->linear == 0) name_ = name;
  if (most_threads > 0 && threads() > static_cast<uint64_t>(most_threads))
    fault("more threads in a block than __launch_bounds__ says");
}

// Not-a-numbers where nothing was written.
void Grid::muster(uint64_t cluster) {
  if (crew_ == nullptr) crew_ = std::make_unique<Crew>();
  Crew& c = *crew_;
  const auto warps = static_cast<size_t>((threads() + 31) / 32);
  while (c.blocks.size() < shape_.cluster) {
    c.blocks.push_back(std::make_unique<Block>());
    Block& b = *c.blocks.back();
    b.grid = this;
    b.block_shape = shape_.block;
    b.grid_shape = shape_.grid;
    b.crew = &c;
    b.rank = static_cast<uint32_t>(c.blocks.size() - 1);
    auto& shared = spare().shared;
    if (shared.empty()) {
      b.memory = std::make_unique<SharedMemory>();
    } else {
      b.memory = std::move(shared.back());
      shared.pop_back();
    }
    for (uint64_t t = 0; t < threads(); ++t) {
      c.threads.push_back(std::make_unique<Thread>(spare().stacks.take()));
      Thread& thread = *c.threads.back();
      thread.block = &b;
      thread.where = &b;
      thread.linear = static_cast<uint32_t>(t);
      const auto linear = static_cast<unsigned>(t);
      thread.index = {linear % shape_.block.x, linear / shape_.block.x % shape_.block.y,
                      linear / (shape_.block.x * shape_.block.y)};
    }
  }
  for (auto& block : c.blocks) {
    const uint64_t linear = cluster * shape_.cluster + block->rank;
    block->index = {static_cast<unsigned>(linear % shape_.grid.x),
                    static_cast<unsigned>(linear / shape_.grid.x % shape_.grid.y),
                    static_cast<unsigned>(linear / (uint64_t{shape_.grid.x} * shape_.grid.y))};
    block->alive = static_cast<uint32_t>(threads());
    block->meetings.resize(warps);
    for (auto& of_warp : block->meetings) of_warp.clear();
    block->barriers = {};
    block->votes = 0;
    block->warpgroups.assign((warps + 3) / 4, {});
    // 0xFF beyond what is named so far, too: variables are placed when they are first met.
    std::memset(block->memory->bytes, 0xFF,
                std::min<size_t>(kSharedRoom, shape_.dynamic_shared + 52 * 1024));
  }
  for (auto& thread : c.threads) {
    thread->ended = false;
    thread->may_go_on = nullptr;
    thread->registers = thread->stack.start(live);
    thread->cluster_arrived = false;
    thread->copies = 0;
    thread->stores.clear();
    thread->open_stores = std::make_shared<uint32_t>(0);
    thread->copies_said = thread->stores_committed = 0;
    thread->cluster_told = nullptr;
  }
  c.cluster_told = nullptr;
  c.cluster = cluster;
  if (machine().config().races) {
    if (c.races == nullptr) c.races = std::make_unique<Races>(c);
    c.races->begin();
  }
  c.alive = c.threads.size();
  c.turn = c.threads.size() - 1;
  c.arrived = c.gone = c.gone_next = 0;
  c.paused = c.asleep = false;
}

void Grid::go_on() {
  Thread* first = crew_->next();
  if (first != nullptr) {
    Thread* const outside = now;
    now = first;
    here = first;
    runs_here(first);
    emulated_switch(&crew_->home, first->registers);
    now = outside;
    here = outside;
    runs_here(outside);
  }
  if (!crew_->faulted.empty()) report(crew_->faulted);
}

void Grid::dismiss(std::unique_ptr<Crew> crew) {
  if (crew == nullptr) return;
  for (auto& thread : crew->threads) spare().stacks.give(std::move(thread->stack));
  for (auto& block : crew->blocks) spare().shared.push_back(std::move(block->memory));
}

void Grid::report(const std::string& what) const { throw Fault(what + ", in " + name_); }

void Grid::may_start_dependents(const Block& block) {
  const uint64_t linear =
      block.index.x +
      uint64_t{shape_.grid.x} * (block.index.y + uint64_t{shape_.grid.y} * block.index.z);
  if (released_[linear]) return;
  released_[linear] = true;
  ++released_count_;
  if (released_count_ == released_.size() && dependents_wait_) crew_->paused = true;
}

void Grid::begin(Schedule& schedule) {
  schedule_ = &schedule;
  if (begun_ > 0) return;
  for (size_t i = order_.size(); i > 1; --i)
    std::swap(order_[i - 1],
              order_[schedule.draws() ? schedule.below(static_cast<uint32_t>(i)) : i - 1]);
  muster(order_[begun_++]);
  go_on();
}

// Blocks run one after the other, but those that sleep are all there at once, as on a GPU that has
// room for them.
bool Grid::run(Schedule& schedule, const std::function<void()>& dependents_may_start) {
  begin(schedule);
  previous_has_ended_ = true;
  for (size_t slept = 0;;) {
    if (crew_ != nullptr) {
      if (run_crew(dependents_may_start)) {
        slept = 0;
        if (begun_ == order_.size()) dismiss(std::move(crew_));
      } else {
        ++slept;
        asleep_.push_back(std::move(crew_));
      }
    }
    if (begun_ < order_.size()) {
      muster(order_[begun_++]);
    } else if (asleep_.empty()) {
      return true;
    } else if (slept >= asleep_.size()) {
      return false;
    } else {
      crew_ = std::move(asleep_.front());
      asleep_.pop_front();
    }
  }
}

bool Grid::run_crew(const std::function<void()>& dependents_may_start) {
  while (crew_->alive > 0) {
    crew_->asleep = false;
    go_on();
    if (crew_->paused) {
      crew_->paused = false;
      dependents_wait_ = false;
      dependents_may_start();
      continue;
    }
    if (crew_->asleep) return false;
    if (crew_->alive == 0) break;
    size_t count = 0;
    const Thread* example = nullptr;
    for (const auto& t : crew_->threads)
      if (!t->ended) {
        ++count;
        if (example == nullptr) example = t.get();
      }
    report("a deadlock: " + std::to_string(count) + " threads wait, thread " +
           std::to_string(example->linear) + " of block (" +
           std::to_string(example->block->index.x) + ", " +
           std::to_string(example->block->index.y) + ") for " + example->waits_for);
  }
  return true;
}

}  // namespace emulated
