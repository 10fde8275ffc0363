// How does what a watcher sees look on the wire? Field for field as in contract/watch.h. from_wire
// trusts nothing: INVALID_ARGUMENT names the first field a correct router would never send. Private
// to net/.
#pragma once

#include "base/result.h"
#include "contract/watch.h"
#include "router.pb.h"

namespace fathom::wire {

void to_wire(const WatchFrom& from, v1::WatchRequest& to);  // with our protocol
Result<WatchFrom> from_wire(const v1::WatchRequest& from);

void to_wire(const ClusterUpdate& from, v1::ClusterUpdate& to);
Result<ClusterUpdate> from_wire(const v1::ClusterUpdate& from);

}  // namespace fathom::wire
