// Who is meant? Strong integer types, so a sequence can not be passed where a worker is wanted.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace fathom {

// A row of the model's vocabulary. Negative values never name a token.
using TokenId = int32_t;

template <class Tag, class Integer = uint64_t>
struct Id {
  Integer value = 0;
  constexpr auto operator<=>(const Id&) const = default;
};

// One placement of a request on the workers. A request that gives way or is recovered gets a new
// one, so a late report about the old placement can never be taken for the new one. Unique for a
// router's epoch.
using SeqId = Id<struct SeqTag>;
// A worker group as its router sees it: one connection, never reused after it is lost.
using WorkerId = Id<struct WorkerTag, uint32_t>;
// A gateway connection as the router sees it, never reused.
using GatewayId = Id<struct GatewayTag, uint32_t>;
// Somebody who watches the cluster, as the router sees it: one connection, never reused.
using WatcherId = Id<struct WatcherTag, uint32_t>;
// A request as its gateway numbers it: unique per GatewayId.
using RequestId = Id<struct RequestTag>;
// A physical block in one worker's pool.
using BlockIndex = int32_t;

}  // namespace fathom

template <class Tag, class Integer>
struct std::hash<fathom::Id<Tag, Integer>> {
  size_t operator()(const fathom::Id<Tag, Integer>& id) const noexcept {
    return std::hash<Integer>{}(id.value);
  }
};
