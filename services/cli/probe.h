// How far is a service? What it says of itself over HTTP, asked with little patience: a service
// that does not answer yet is simply not there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace fathom {

// Readiness: empty when ready, otherwise what it says, or "not listening yet".
std::string not_ready(uint16_t port);

// The value of a metric, of several with labels the first, on 127.0.0.1:port/metrics.
std::optional<double> read_metric(uint16_t port, const std::string& name);

// The same in a text that was read already.
std::optional<double> metric_in(const std::string& text, const std::string& name);

}  // namespace fathom
