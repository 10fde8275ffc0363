// When does the work of a stream happen? As late as it may: what is said is queued, and done when
// somebody waits for it, so that work which lacks a wait finds what it needs not there yet. A seed
// draws other times. One lock holds the whole machine: one thread of the host works at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/gpu/emulator/grid.h"

namespace emulated {

struct Work {
  std::function<void()> act;         // a copy, or a wait for another stream
  std::shared_ptr<Grid> grid;        // or a kernel
  std::function<bool()> ready = {};  // of an act: asked until it may be done
  bool replayed = false;             // of a graph
};
// Said while a stream records: makes the work anew for every replay.
using Recipe = std::function<Work()>;

struct Graph {
  std::vector<Recipe> recipes;
};

class Stream {
 public:
  explicit Stream(int gpu) : gpu_(gpu) {}

  int gpu() const { return gpu_; }
  // Does now, or later, or puts it into the graph that is being recorded.
  void say(const Recipe& recipe);
  // Until the first `count` of what was ever said are done.
  void finish(uint64_t count);
  void finish() { finish(said_); }
  enum class Did { nothing, some, waits };
  // The next piece of work; nothing where none is left or one is being done, waits where it is a
  // kernel that goes on only when other GPUs or the host have.
  Did do_one();
  bool idle() const { return queue_.empty(); }
  uint64_t said() const { return said_; }
  bool done(uint64_t count) const { return done_ >= count; }

  Graph* recording() const { return recording_.get(); }
  void record() { recording_ = std::make_unique<Graph>(); }
  std::unique_ptr<Graph> recorded() { return std::move(recording_); }
  bool spoilt = false;  // something was said that can not be recorded

  // What went wrong; nothing is done after it.
  const std::string& failure() const { return failure_; }

 private:
  const int gpu_;
  std::deque<Work> queue_;
  uint64_t said_ = 0, done_ = 0;
  bool doing_ = false;
  std::unique_ptr<Graph> recording_;
  std::string failure_;
};

// A turn for all streams, and for the host's threads.
void give_others_a_turn();

}  // namespace emulated
