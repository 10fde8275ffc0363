// What happened lately? A bounded list with rising numbers, so that a watcher who was away can be
// told what it missed, as far as it is kept. What comes often (moves, recoveries) is tallied and
// written once a second. Moves are part of a good day, so they have a list of their own and never
// push out what is rare.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "contract/watch.h"

namespace fathom {

class Happenings {
 public:
  static constexpr size_t kMovesKept = 100;
  static constexpr size_t kOthersKept = kWatchedHappenings - kMovesKept;
  // Pairs of workers of one kind in one second; more are told in one line.
  static constexpr size_t kPairsTold = 4;

  // `unix_us`: the present.
  void note(int64_t unix_us, Happening happening);
  void tally(HappeningKind kind, const std::string& worker = {}, const std::string& peer = {},
             int64_t count = 1) {
    tallied_[kind][{worker, peer}] += count;
  }
  // Writes down what was tallied since the last time.
  void close_second(int64_t unix_us);
  // Those after `number`, oldest first.
  std::vector<Happening> since(int64_t number) const;

 private:
  using Pairs = std::map<std::pair<std::string, std::string>, int64_t>;

  std::map<HappeningKind, Pairs> tallied_;
  std::deque<Happening> moves_, others_;
  int64_t last_ = 0;
};

}  // namespace fathom
