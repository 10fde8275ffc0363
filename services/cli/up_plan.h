// Which processes make the cluster that was asked for? Names, ports and settings files, decided
// before anything starts. The services behind the gateway listen on free ports of 127.0.0.1 only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/up_options.h"

namespace fathom {

enum class ServiceKind : uint8_t { worker, router, gateway };

struct PlannedService {
  std::string name;  // "prefill-0"
  ServiceKind kind = ServiceKind::worker;
  std::string config;      // YAML
  uint16_t http_port = 0;  // of its metrics and probes
};

struct UpPlan {
  std::string url;  // of the gateway
  uint16_t port = 0;
  std::string grpc;                      // host:port of the gateway's gRPC API
  std::vector<PlannedService> services;  // in the order of starting; stopped in the reverse
};

// The subcommand that runs a service of this kind.
std::string kind_text(ServiceKind kind);

Result<UpPlan> plan_up(const UpOptions& options);

}  // namespace fathom
