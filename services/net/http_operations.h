// How do people and machines look into a process that serves no HTTP itself? A router or worker
// answers /metrics, /health/live, /health/ready and /version on a port of its own; everything else
// is 404.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "process/metrics.h"

namespace fathom {

class Operations {
 public:
  virtual ~Operations() = default;  // stops
  virtual std::string address() const = 0;
};

// `not_ready` is called on the server's thread and returns why the process can not work yet; empty
// when it can. Port 0 takes a free one. `metrics` outlives the result.
Result<std::unique_ptr<Operations>> serve_operations(const std::string& listen,
                                                     const Metrics& metrics,
                                                     std::function<std::string()> not_ready);

}  // namespace fathom
