// What happens in the world of one seed? Workers, clients and faults, all rolled once at the start,
// so a seed can be read before it is run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "batching/batcher.h"
#include "tests/sim/world/fake_worker.h"

namespace fathom::sim {

enum class Fault : uint8_t {
  worker_dies,      // the process is gone and comes back later as another instance
  stream_breaks,    // the same process, a new stream
  worker_slows,     // steps take twenty times as long for a while
  worker_drains,    // finishes what it runs, then leaves and comes back
  router_restarts,  // a new Batcher; gateways submit again
  gateway_dies,
  router_drains,
  worker_stalls,  // keeps its stream, and neither steps nor reports for a while or for ever
};

inline constexpr Duration kForEver{INT64_MAX};

struct PlannedFault {
  Fault fault{};
  Instant at;
  Duration lasts;
  size_t worker = 0;
  size_t gateway = 0;
  bool late_news_arrives = false;  // what the dead sent before is still delivered
};

struct PlannedRequest {
  Instant at;
  size_t gateway = 0;
  Submit submit;
  Instant cancel_at = kNever;
  bool twice = false;  // the same id is submitted again while it runs
};

struct Scenario {
  uint64_t seed = 0;
  BatcherConfig batcher;
  int32_t worker_step_budget = 32;
  std::vector<WorkerSpec> workers;
  std::vector<PlannedRequest> requests;
  std::vector<PlannedFault> faults;
  size_t gateways = 1;
  WorkerFaults worker_faults;
  double transfer_damage = 0;  // chance that a transfer ends with DATA_LOSS
  int64_t latency_us_max = 500;

  bool quiet() const;  // nothing fails in it
  std::string text() const;
};

// From here on twice the workers and ten times the requests.
inline constexpr uint64_t kCrowdedSeeds = 1'000'000;
// From here on workers draw several tokens in a step, in clusters of the usual size.
inline constexpr uint64_t kSpeculatingSeeds = 2'000'000;
// From here on workers stop stepping, and the router gives silent ones up; the size is the usual.
inline constexpr uint64_t kStallingSeeds = 3'000'000;

Scenario scenario_of(uint64_t seed);

}  // namespace fathom::sim
