// How does one launched kernel run? Cluster after cluster (a cluster of one block mostly), the
// threads of a cluster by turns until all have ended. A kernel that may start early is begun: its
// first cluster runs until it waits for the kernel before it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "tests/gpu/emulator/block.h"
#include "tests/gpu/emulator/schedule.h"

namespace emulated {

// What a kernel did wrong.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The threads of one cluster, and what was said to happen beside them.
struct Crew {
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<std::unique_ptr<Thread>> threads;
  // Asynchronous copies. Those `by` a thread happen in its order, others (null) in any.
  struct Copy {
    const Thread* by;
    std::function<void()> act;
  };
  std::deque<Copy> under_way;
  uint64_t progress = 0;  // of what threads wait for, by copies
  size_t turn = 0;        // of which thread
  size_t alive = 0;
  void* home = nullptr;  // registers of who runs the crew
  std::string faulted;
  bool paused = false;  // who runs the crew wants to be asked
  bool asleep = false;  // a thread waits for what happens elsewhere, and may ask again
  // The barrier of the cluster. Who has ended counts as there, from the next turn on where it had
  // arrived in this one.
  size_t arrived = 0, gone = 0, gone_next = 0;
  uint64_t cluster_turn = 0;
  SharedGathering cluster_told;
  uint64_t cluster = 0;          // which of the grid
  std::unique_ptr<Races> races;  // null: nobody watches

  void arrive();
  void thread_ended();
  Thread* next();
  void do_copy(size_t which);
};

// Of the running thread's cluster; null: nobody watches.
inline Races* watched_races() { return now->block->crew->races.get(); }
// Which thread this thread of the host runs (`now`; null: none), for instrumented.cpp.
void runs_here(const Thread* thread);

// What may happen later than it is said: at once, or when nothing else can go on, as the schedule
// draws. In the order of the running thread, or in any.
void later(bool in_order, std::function<void()> copy);

class Grid {
 public:
  struct Shape {
    dim3 grid, block;
    uint32_t dynamic_shared = 0;
    uint32_t cluster = 1;
    bool starts_early = false;  // programmatic dependent launch
    int gpu = 0;
  };
  Grid(const Shape& shape, std::function<void()> body);
  ~Grid();

  // Throws Fault.
  void begin(Schedule& schedule);
  // `dependents_may_start`: called once, when every block has said so or ended. False: all blocks
  // that are left wait for another GPU or the host; call it again when those had a chance.
  bool run(Schedule& schedule, const std::function<void()>& dependents_may_start);

  const Shape& shape() const { return shape_; }
  uint64_t threads() const { return uint64_t{shape_.block.x} * shape_.block.y * shape_.block.z; }
  const std::string& name() const { return name_; }

  // For threads of the grid.
  bool previous_has_ended() const { return previous_has_ended_; }
  void may_start_dependents(const Block& block);
  void entered(const char* name, int most_threads);
  uint32_t place_of(const void* key, uint32_t bytes, uint32_t alignment);
  uint32_t shared_end() const { return shared_end_; }
  Schedule& schedule() { return *schedule_; }
  void call() const { body_(); }
  GlobalShadow& global_shadow() { return global_shadow_; }

 private:
  uint64_t clusters() const;
  void muster(uint64_t cluster);
  void go_on();
  // Until its threads have ended; false where it sleeps.
  bool run_crew(const std::function<void()>& dependents_may_start);
  static void dismiss(std::unique_ptr<Crew> crew);
  [[noreturn]] void report(const std::string& what) const;

  Shape shape_;
  std::function<void()> body_;
  Schedule* schedule_ = nullptr;
  std::string name_ = "a kernel that no thread entered";
  bool previous_has_ended_ = false;
  uint32_t shared_end_;
  struct Variable {
    const void* key;
    uint32_t place;
  };
  std::vector<Variable> variables_;
  std::unique_ptr<Crew> crew_;                // that runs
  std::deque<std::unique_ptr<Crew>> asleep_;  // clusters that began and wait for another GPU
  std::vector<uint64_t> order_;
  GlobalShadow global_shadow_;
  size_t begun_ = 0;            // clusters
  std::vector<bool> released_;  // blocks that let dependents start
  uint64_t released_count_ = 0;
  bool dependents_wait_ = true;
};

}  // namespace emulated
