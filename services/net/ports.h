// Which ports can a cluster on this machine use? Free ones are found by binding them, all at once
// so that none is handed out twice. They lie below those that the system gives to outgoing
// connections: a service connects to its peers before all of them listen, and would now and then
// take the port of one. Another listener may still come between the answer and the use; the process
// that then fails says so.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace fathom {

// Ok when 0.0.0.0:port can be listened on now; otherwise FAILED_PRECONDITION with the system's
// reason.
Status port_is_free(uint16_t port);

// `count` different free ports of 127.0.0.1 below `end`, not below 10,000: neighbours as far as
// they are free, from a place that differs from call to call. Where fewer are free there (the
// system may give almost all ports to connections), the rest are any that are free.
Result<std::vector<uint16_t>> free_ports(int count, int32_t end);

// The same below the first port the system gives to connections (Linux,
// net.ipv4.ip_local_port_range; without it, 32,768).
Result<std::vector<uint16_t>> free_ports(int count);

}  // namespace fathom
