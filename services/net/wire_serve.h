// How do a gateway's requests and a router's answers look on the wire? Field for field as in
// contract/serve.h. to_wire appends to a message; from_wire trusts nothing: INVALID_ARGUMENT names
// the first field a correct peer would never send. Private to net/.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "contract/serve.h"
#include "router.pb.h"

namespace fathom::wire {

void to_wire(std::span<const ToRouter> from, v1::ToRouter& to);
// The messages; a hello in it is left to the caller.
Result<std::vector<ToRouter>> from_wire(const v1::ToRouter& from);

void to_wire(std::span<const FromRouter> from, v1::FromRouter& to);
Result<std::vector<FromRouter>> from_wire(const v1::FromRouter& from);

}  // namespace fathom::wire
