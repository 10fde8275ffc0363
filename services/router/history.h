// How were the last ten minutes? A ring of seconds, each with what was counted in it and how long
// things took in the ten seconds up to its end. Latencies are kept as the state of the batcher's
// histograms at each second of the last minute. Bounded: 600 seconds of half a KB and 61 states of
// 7.5 KB.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "batching/batcher.h"
#include "contract/watch.h"

namespace fathom {

class History {
 public:
  static constexpr size_t kPlotSeconds = 10;    // of the percentiles of a second
  static constexpr size_t kMinuteSeconds = 60;  // of those of a view

  History() { moments_.emplace_back(); }
  // `second` is over: all but its latencies is filled in.
  void close(WatchedSecond second, const BatcherLatencies& now);
  // Those after `number`, oldest first.
  std::vector<WatchedSecond> since(int64_t number) const;
  // Of the minute before the last second that was closed, and what came after.
  WatchedLatencies minute(const BatcherLatencies& now) const;

 private:
  const BatcherLatencies& moment_before(size_t seconds) const;

  std::deque<WatchedSecond> seconds_;
  std::deque<BatcherLatencies> moments_;  // at the ends of the last seconds, newest last
};

}  // namespace fathom
