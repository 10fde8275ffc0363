// Has a block stored all that it hands to another GPU before the word that says so, and does it
// load what it is handed behind the word that it waited for? One thread tells or waits for all of
// its block, so a barrier must lie between it and the others. Which of them a word is about is not
// known: it is taken to be about every store (load) of its block. One object for stores and
// releases of each cluster that runs while races are watched for, and one for loads and acquires.
#pragma once

#include <optional>
#include <vector>

#include "tests/gpu/emulator/clocks.h"

namespace emulated {

class PeerWords {
 public:
  // Actors 0 to `threads` - 1 are the threads of blocks of `each`.
  PeerWords(size_t threads, size_t each) : each_(each), touched_(threads), said_(threads) {}
  void clear();

  struct Met {
    Actor actor = 0;
    uint32_t code = 0;  // where in the program
  };
  // A store or a load by the thread of `clock`: the word of another one that nothing puts in order
  // with it, if there is one.
  std::optional<Met> touch(const Clock& clock, uint32_t code);
  // A word: the other way round.
  std::optional<Met> word(const Clock& clock, uint32_t code);

 private:
  struct Last {
    Epoch epoch = 0;  // 0: never
    uint32_t code = 0;
  };
  static bool behind(const Clock& clock, Actor other, const Last& last) {
    return last.epoch <= Known::at(clock.known->seen, other);
  }

  const size_t each_;
  std::vector<Last> touched_, said_;  // by thread
  std::vector<Actor> sayers_;         // who said a word so far
};

}  // namespace emulated
