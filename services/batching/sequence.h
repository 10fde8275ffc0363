// What does the router know about one request? Everything a worker needs to continue it from
// nothing: tokens holds prompt and emitted tokens, so every loss has the same remedy, placing it
// again. A request has at most one placement at a time, and each placement has a SeqId of its own,
// used at both its workers.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "batching/batcher.h"
#include "batching/lease.h"
#include "contract/sampling.h"

namespace fathom {

inline constexpr WorkerId kNobody{UINT32_MAX};

struct Request;
struct Tenant;
struct WorkerView;

// Oldest first. Arrival numbers are unique, so pointers never decide an order.
using ByArrival = std::set<std::pair<uint64_t, Request*>>;

// Where a request runs. Without a home it waits.
struct Placement {
  SeqId seq;
  WorkerView* home = nullptr;     // decodes; computes the prompt too unless it is a handoff
  WorkerView* prefill = nullptr;  // of a handoff, until its blocks are dropped
  Grant grant;                    // at the home
  int32_t total = 0;              // prompt and all it may emit here
  int32_t prefill_blocks = 0;     // held at `prefill`
  int32_t computing = 0;          // tokens this placement computes before its first new one
  int32_t uncomputed = 0;         // of them, not yet reported as computed
  int32_t prompt_logprobs = 0;    // seen from this placement
  uint64_t key = 0;
  bool handoff = false;
  bool first_token = false;  // this placement has emitted
  bool resident = false;     // of a handoff: the home holds the KV
  bool wants = false;        // listed in home->wanting

  bool decodes() const { return first_token && (!handoff || resident); }
};

struct Request {
  RequestKey key;
  uint64_t arrival = 0;  // unique; older is smaller
  uint32_t slot = 0;     // in the RequestTable
  std::vector<TokenId> tokens;
  int32_t prompt_tokens = 0;
  Sampling sampling;
  Tenant* tenant = nullptr;
  Instant deadline = kNever;
  Instant last_tokens = kNever;  // when some were reported last

  Placement place;
  bool resumed = false;    // was placed before, here or by a lost router: goes ahead of new ones
  bool parked = false;     // no live worker could hold it
  int32_t recoveries = 0;  // placements lost to failures
  int32_t passes = 0;      // admissions that went past it while it did not fit
  int32_t prompt_logprobs = 0;       // delivered
  WorkerId avoid_prefill = kNobody;  // of the last lost placement
  WorkerId avoid_home = kNobody;
  RequestTrace trace;

  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  int32_t emitted() const { return length() - prompt_tokens; }
  bool placed() const { return place.home != nullptr; }
  int32_t lease_left() const { return place.grant.upto - length(); }
};

}  // namespace fathom
