// How does a process listen for gRPC? One server at host:port with its services, the standard
// health service (NOT_SERVING until somebody says otherwise) and reflection. A port that another
// process holds is an error naming the address, never a silent share of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace grpc {
class Service;
}

namespace fathom {

inline constexpr int64_t kInternalMessageBytesMax = int64_t{256}
                                                    << 20;  // prompts and KV blocks in batches
inline constexpr int64_t kPublicMessageBytesMax = int64_t{64} << 20;

struct GrpcServerOptions {
  std::string listen = "127.0.0.1:0";  // port 0: the system chooses, see address()
  int64_t message_bytes_max = kInternalMessageBytesMax;
  std::vector<grpc::Service*> services;  // each outlives the server
  bool reflection = true;
};

class GrpcServer {
 public:
  virtual ~GrpcServer() = default;  // stops at once if nobody did
  virtual int port() const = 0;
  virtual std::string address() const = 0;  // host:port with the chosen port
  virtual void set_serving(bool serving) = 0;
  // Takes no new calls, lets running ones end for `grace`, then cancels them. Blocks until all have
  // ended. End streams that live forever (Drive, Serve) by their service's stop() first.
  virtual void stop(Duration grace) = 0;
};

Result<std::unique_ptr<GrpcServer>> start_grpc_server(const GrpcServerOptions& options);

}  // namespace fathom
