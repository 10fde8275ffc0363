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
  virtual void on_gateway_up(GatewayId gateway, const std::string& name) = 0;
  virtual void on_gateway_messages(GatewayId gateway, std::vector<ToRouter> messages) = 0;
  virtual void on_gateway_down(GatewayId gateway) = 0;
};

class ServeService {
 public:
  virtual ~ServeService() = default;
  virtual grpc::Service& grpc() = 0;
  // Queues events for one gateway; several queued batches leave as one message. Unknown ids are
  // ignored. A gateway that does not read fast enough (more than a bound of tokens queued) is
  // disconnected.
  virtual void send(GatewayId gateway, std::vector<FromRouter> events) = 0;
  virtual void stop() = 0;  // ends all streams
};

std::unique_ptr<ServeService> make_serve_service(GatewayEvents& events);

}  // namespace fathom
