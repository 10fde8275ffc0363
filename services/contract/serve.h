// What do a gateway and a router say to each other? A gateway submits token ids and gets tokens
// back; each accepted request ends with exactly one Finished. One message per tick and direction,
// for all requests.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "contract/sampling.h"

namespace fathom {

// One choice of one client request. tokens[0 .. prompt_tokens) is the prompt; what follows was
// already delivered, when the gateway submits again after it lost a router.
struct Submit {
  RequestId id;
  std::vector<TokenId> tokens;
  int32_t prompt_tokens = 0;
  Sampling sampling;
  std::string tenant;             // fairness key; empty is a tenant too
  std::string user;               // divides the tenant's share; empty is a user too
  std::string trace;              // the client's x-request-id, for logs
  Duration time_left{INT64_MAX};  // until the deadline; INT64_MAX means none
  bool operator==(const Submit&) const = default;
};

// The client left, or a stop string was found. Answered by Finished{cancelled} unless it ended
// before.
struct Cancel {
  RequestId id;
  bool operator==(const Cancel&) const = default;
};

using ToRouter = std::variant<Submit, Cancel>;

struct Tokens {
  RequestId id;
  int32_t first = 0;  // index of tokens[0] among the emitted tokens of the request
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;         // one per token when asked
  std::vector<TokenLogprob> prompt_logprobs;  // for prompt tokens 1.., in order, possibly in pieces
  int32_t cached = 0;            // prompt tokens found in a prefix cache, with the first token
  Finish finish = Finish::none;  // stop and length travel with the last tokens and end the request
  bool operator==(const Tokens&) const = default;
};

// The end of a request that its tokens did not announce: refused (RESOURCE_EXHAUSTED with
// retry_after), failed, cancelled or out of time.
struct Finished {
  RequestId id;
  Finish finish = Finish::failed;
  Error error;              // for failed: why
  Duration retry_after{0};  // for RESOURCE_EXHAUSTED and UNAVAILABLE
  bool operator==(const Finished&) const = default;
};

// What the router's workers serve, sent first on every stream and whenever it changes.
struct ClusterState {
  bool ready = false;  // there is a worker that prefills and one that decodes
  std::string model;
  std::string model_digest;
  int32_t context_max = 0;
  int32_t vocab = 0;
  int32_t prefill_workers = 0;  // role both counts in each
  int32_t decode_workers = 0;
  int32_t waiting = 0;  // requests queued in the router
  int32_t running = 0;
  double kv_usage = 0;  // 0..1, reserved over capacity of the decode homes
  bool operator==(const ClusterState&) const = default;
};

using FromRouter = std::variant<ClusterState, Tokens, Finished>;

}  // namespace fathom
