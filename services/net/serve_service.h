// How does a router hear its gateways? One Serve stream each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "contract/serve.h"

namespace grpc {
class Service;
}

namespace fathom {

// Called on gRPC threads; must not block.
class GatewayEvents {
 public:
  virtual ~GatewayEvents() = default;
  // In stream order for each gateway: up, then messages, then down.
  virtual void on_gateway_up(GatewayId gateway, const std::string& name) = 0;
  virtual void on_gateway_messages(GatewayId gateway, std::vector<ToRouter> messages) = 0;
  virtual void on_gateway_down(GatewayId gateway) = 0;
};

class ServeService {
 public:
  virtual ~ServeService() = default;
  virtual grpc::Service& grpc() = 0;
  // Queues events for one gateway; what is queued while a message is on its way leaves as one
  // message. Unknown ids are ignored. A gateway that leaves more than tokens_queued_max unread is
  // disconnected.
  virtual void send(GatewayId gateway, std::vector<FromRouter> events) = 0;
  // Ends all streams. No event comes after it; do not call it from one.
  virtual void stop() = 0;
};

struct ServeOptions {
  int64_t tokens_queued_max = int64_t{1} << 18;  // events count as one token each
};

// `events` outlives the service. Destroy the service after the server that carries it.
std::unique_ptr<ServeService> make_serve_service(GatewayEvents& events,
                                                 const ServeOptions& options = {});

}  // namespace fathom
