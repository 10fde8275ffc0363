#include "router/history.h"

#include <algorithm>

namespace fathom {
namespace {

Percentiles percentiles(const LatencyHistogram& now, const LatencyHistogram& before) {
  const LatencyHistogram stretch = now.since(before);
  const uint64_t count = stretch.count();
  if (count == 0) return {};
  return {.p50 = stretch.percentile(50),
          .p90 = stretch.percentile(90),
          .p99 = stretch.percentile(99),
          .count = static_cast<int64_t>(count)};
}

WatchedLatencies latencies(const BatcherLatencies& now, const BatcherLatencies& before) {
  return {.queue = percentiles(now.queue, before.queue),
          .first_token = percentiles(now.first_token, before.first_token),
          .inter_token = percentiles(now.inter_token, before.inter_token),
          .request = percentiles(now.request, before.request)};
}

}  // namespace

// The oldest there is when so many seconds have not passed yet.
const BatcherLatencies& History::moment_before(size_t seconds) const {
  return moments_[moments_.size() > seconds ? moments_.size() - 1 - seconds : 0];
}

void History::close(WatchedSecond second, const BatcherLatencies& now) {
  moments_.push_back(now);
  if (moments_.size() > kMinuteSeconds + 1) moments_.pop_front();
  second.latencies = latencies(now, moment_before(kPlotSeconds));
  seconds_.push_back(second);
  if (seconds_.size() > kWatchedSeconds) seconds_.pop_front();
}

std::vector<WatchedSecond> History::since(int64_t number) const {
  const auto first =
      std::partition_point(seconds_.begin(), seconds_.end(),
                           [&](const WatchedSecond& second) { return second.number <= number; });
  return {first, seconds_.end()};
}

WatchedLatencies History::minute(const BatcherLatencies& now) const {
  return latencies(now, moment_before(kMinuteSeconds));
}

}  // namespace fathom
