// Does every touch of memory come after those that it must not meet? One object for each cluster
// that runs, where the machine watches for races (MachineConfig): it keeps the clocks of threads
// and barriers and a shadow of each block's shared memory, and faults at the first two touches, one
// of them a store, that no barrier, wait or fence puts in order. Loads and stores of kernels come
// from instrumented.cpp; barriers, copies and tensor cores report by hand. Of a GPU's memory it is
// watched that clusters of a kernel do not meet there (global_shadow.h), and that a block hands
// over to another GPU what it has stored, and loads from there what it was handed (peer_words.h).
//
// What orders: barriers of a block, of a cluster and with numbers, mbarriers, __syncwarp, waits for
// copies, stores and products. What does not: shuffles, votes, mma, ldmatrix, atomic operations.
// One thing between: what a thread loaded before a product of its warpgroup is loaded when the
// product has ended, and when it has begun if registers are its operand: kernels give a stage of a
// ring back by one lane then.
#pragma once

#include <string>
#include <unordered_map>

#include "tests/gpu/emulator/global_shadow.h"
#include "tests/gpu/emulator/peer_words.h"
#include "tests/gpu/emulator/shadow.h"

namespace emulated {

struct Block;
struct Crew;
struct Thread;

using SharedGathering = std::shared_ptr<Gathering>;

class Races {
 public:
  explicit Races(Crew& crew);
  ~Races();
  // Anew, for the next cluster: nobody knows of anybody.
  void begin();

  // Of the running thread. `at` is in shared memory of any block of the cluster.
  void touch(const void* at, uint32_t bytes, Access how, const void* code);
  // By something beside the thread, which begins it now: its epoch is the one that its end has.
  struct Beside {
    Actor actor;
    Epoch epoch;
    bool async;
  };
  void touch(const void* at, uint32_t bytes, Access how, const Beside& beside);
  // Of memory that is not shared, by the running thread or what it begins.
  void touch_global(const void* at, size_t bytes, Access how, const void* code);
  // A word by which kernels of several GPUs meet: stored with a release, loaded with an acquire.
  void releases(const void* code);
  void acquires(const void* code);

  // Barriers of hardware: null begins a turn.
  void arrive(SharedGathering& turn);
  static void leave(const SharedGathering& turn);
  void fence();

  // mbarriers, by their places in the host's memory.
  void init(const void* barrier);
  void arrive(const void* barrier);
  void arrive(const void* barrier, const Beside& copies);
  void phase_ends(const void* barrier);
  void waited(const void* barrier);
  Beside counted_by(const void* barrier, bool async);

  // Copies (cp.async) and bulk stores of the running thread: each group of these is an epoch.
  Beside copies(Epoch epoch);
  Beside stores(Epoch epoch);
  void know(const Beside& done);

  // Products of a warpgroup of the running thread's block, which all its threads say; `group`: as
  // committed, from 1 on. Operand A is read warp by warp, 16 rows each; B by all four.
  Beside products(uint32_t warpgroup, Epoch group);
  void product_begins(uint32_t warpgroup, bool takes_registers);
  void products_committed(uint32_t warpgroup);
  void products_end(uint32_t warpgroup, Epoch group);  // for the running thread
  // What the threads from `first` on know, of the block of the running one.
  SharedKnown known_to(uint32_t first, uint32_t count) const;
  void read_operand(uint32_t place, uint32_t bytes, const Beside& beside, const SharedKnown& known);

 private:
  // Of a warpgroup: up to which epoch of each thread the products so far, and those of each group
  // and before it, took what was loaded.
  struct Products {
    std::array<Epoch, 128> begun = {};
    std::vector<std::array<Epoch, 128>> groups;
    Step step;
  };
  Products& products_of(uint32_t warpgroup);

  struct Watched {
    SharedGathering turn, ended;
    Actor counter = 0;  // what copies that it counts are known by; epoch: the phase
    Epoch phases = 0;   // ended so far
  };
  Watched& watched(const void* barrier);
  enum Kind : uint8_t { kCounted, kCopies, kStores, kProducts };
  Actor actor_of(Kind kind, uint64_t which);
  uint64_t running_thread() const;
  void check(uint32_t block, uint32_t place, uint32_t bytes, const Touch& touch, const View& view);
  void check(const void* at, uint32_t bytes, const Touch& touch, const View& view);
  std::string who(Actor actor) const;
  std::string who_of_cluster(uint32_t cluster) const;
  void touch_peers(int gpu, const GlobalShadow::Touch& touch);
  [[noreturn]] void apart(const char* touched, Actor toucher, uint32_t touch_code, const char* word,
                          Actor teller, uint32_t word_code) const;

  Crew& crew_;
  std::vector<std::unique_ptr<Shadow>> shadows_;  // of each block
  PeerWords told_, asked_;  // of stores and releases; of loads from other GPUs and acquires
  SharedKnown nothing_;
  std::unordered_map<const void*, Watched> barriers_;
  std::unordered_map<uint64_t, Products> products_;
  struct Named {
    Kind kind;
    uint64_t which;
    Step step;
  };
  std::vector<Named> besides_;  // actors behind the threads
  std::unordered_map<uint64_t, Actor> besides_by_name_;
};

}  // namespace emulated
