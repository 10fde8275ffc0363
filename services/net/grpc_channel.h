// How is a connection to another process opened? Without proxy or TLS, with pings, with connections
// of its own (gRPC would share them, and their backoff, between equal channels). Private to net/.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace fathom::wire {

// May be let go of on any thread, also from a callback of the channel.
std::shared_ptr<grpc::Channel> open_channel(const std::string& target);

}  // namespace fathom::wire
