// What does a router tell about its cell to whoever watches? The present of every worker and of all
// requests, the seconds of the last ten minutes, and what happened. Times are unix time, taken from
// the router's start and its monotonic clock. Seconds are numbered by unix time and happenings by
// the microsecond they were noted, so both numbers go on rising over a restart of the router and a
// watcher can name what it has. docs/cluster.md has every field with its unit.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "contract/drive.h"

namespace fathom {

inline constexpr int32_t kWatchedSeconds = 600;     // kept by a router, and by a gateway
inline constexpr int32_t kWatchedHappenings = 500;  // the same
inline constexpr int32_t kWatchedSteps = 120;       // seconds of step times of each worker

// What a watcher has: only what is newer is sent. 0: nothing.
struct WatchFrom {
  int64_t second = 0;
  int64_t happening = 0;
  bool operator==(const WatchFrom&) const = default;
};

// How a request ends, as metrics and watchers name it.
enum class Outcome : uint8_t { stop, length, cancelled, refused, timeout, failed };
inline constexpr std::array<std::string_view, 6> kOutcomeNames = {"stop",    "length",  "cancelled",
                                                                  "refused", "timeout", "failed"};

// In seconds; all 0 when `count` is. Off by at most 1/32 (base/latency_histogram.h).
struct Percentiles {
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  int64_t count = 0;
  bool operator==(const Percentiles&) const = default;
};

struct WatchedLatencies {
  Percentiles queue;
  Percentiles first_token;
  Percentiles inter_token;
  Percentiles request;
  bool operator==(const WatchedLatencies&) const = default;
};

// Levels at the end of a second, counts during it, percentiles of the ten seconds up to its end.
struct WatchedSecond {
  int64_t number = 0;  // unix time of its beginning
  int32_t waiting = 0;
  int32_t running = 0;     // admitted and not ended
  int32_t moving = 0;      // among them, those whose KV is on its way
  int32_t prefilling = 0;  // among the running, those without a token of their placement
  int32_t decoding = 0;    // those with one, and with their KV at home
  int64_t blocks = 0;      // of all workers
  int64_t blocks_reserved = 0;
  int32_t workers_up = 0;
  int64_t arrived = 0;
  int64_t admitted = 0;
  std::array<int64_t, kOutcomeNames.size()> ended{};  // by Outcome
  int64_t prompt_tokens = 0;                          // computed by workers
  int64_t cached_tokens = 0;                          // prompt tokens that needed no computing
  int64_t generated_tokens = 0;                       // sent to gateways
  int64_t moves = 0;
  int64_t preemptions = 0;
  int64_t recoveries = 0;
  WatchedLatencies latencies;
  bool operator==(const WatchedSecond&) const = default;
};

enum class WorkerPhase : uint8_t { connecting, up, draining, down };

// Steps of one kind among the last ten seconds', at most kStepsRemembered of all kinds.
struct WatchedSteps {
  int64_t count = 0;
  double p50_seconds = 0;
  double p99_seconds = 0;
  bool operator==(const WatchedSteps&) const = default;
};

struct WatchedWorker {
  std::string address;
  WorkerPhase phase = WorkerPhase::connecting;
  double phase_seconds = 0;  // in this phase
  std::string why;           // not up: what was said last
  Role role = Role::both;    // this and what follows: as last known
  int32_t tensor_parallel = 0;
  std::array<WatchedSteps, 3> steps;  // prefill, decode, mixed
  double rows = 0;                    // sequences of a step, mean of the last ten seconds
  int32_t rows_max = 0;
  double prompt_tokens_per_step = 0;  // of steps that had any, the same
  double prompt_tokens_per_second = 0;
  double cached_tokens_per_second = 0;
  double generated_tokens_per_second = 0;
  double drafted_per_second = 0;  // guessed tokens that were verified
  double accepted_per_second = 0;
  int32_t sequences = 0;  // that hold blocks
  int64_t uncomputed = 0;
  int32_t blocks = 0;
  int32_t block_tokens = 0;
  int32_t blocks_reserved = 0;
  int32_t blocks_held = 0;        // as the worker reports
  std::vector<float> step_means;  // seconds, of each of the last kWatchedSteps seconds; 0: no step
  bool operator==(const WatchedWorker&) const = default;
};

struct ClusterView {
  double time = 0;     // unix seconds
  double started = 0;  // the router, the same
  std::string model;
  bool ready = false;
  bool draining = false;
  int32_t gateways = 0;
  int32_t queue_max = 0;
  WatchedLatencies latencies;  // of the last minute
  std::vector<WatchedWorker> workers;
  bool operator==(const ClusterView&) const = default;
};

enum class HappeningKind : uint8_t {
  router_started,
  router_draining,
  worker_up,
  worker_draining,
  worker_down,
  worker_refused,
  gateway_up,
  gateway_down,
  moved,
  transfer_failed,
  recovered,
  preempted,
  refused,
};
inline constexpr std::array<std::string_view, 13> kHappeningNames = {
    "router_started", "router_draining", "worker_up",    "worker_draining", "worker_down",
    "worker_refused", "gateway_up",      "gateway_down", "moved",           "transfer_failed",
    "recovered",      "preempted",       "refused"};

struct Happening {
  int64_t number = 0;  // unix microseconds, made unique
  HappeningKind kind = HappeningKind::moved;
  std::string worker;  // address; empty when it is about none or about many
  std::string peer;    // the other worker: where KV came from
  std::string text;    // for people
  int64_t count = 1;   // so many of its kind in one second
  bool operator==(const Happening&) const = default;
};

// Seconds and happenings in rising order of their numbers.
struct ClusterUpdate {
  ClusterView view;
  std::vector<WatchedSecond> seconds;
  std::vector<Happening> happenings;
  bool operator==(const ClusterUpdate&) const = default;
};

}  // namespace fathom
