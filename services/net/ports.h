// Which ports can a cluster on this machine use? Free ones are found by binding them, all at once
// so that none is handed out twice. Between the answer and the use somebody else may take one; the
// process that then fails says so.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace fathom {

// Ok when 0.0.0.0:port can be listened on now; otherwise FAILED_PRECONDITION with the system's
// reason.
Status port_is_free(uint16_t port);

// `count` different free ports of 127.0.0.1.
Result<std::vector<uint16_t>> free_ports(int count);

}  // namespace fathom
