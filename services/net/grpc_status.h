// How does an Error travel as a gRPC status, and how is a dead peer noticed? The code is the same
// number; the field goes behind the message in brackets, where people read it, and into the status
// details, where programs do. Private to net/.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "base/result.h"

namespace fathom::wire {

// Initial metadata of a stream that was accepted; a refused one has only trailing metadata.
inline constexpr const char kAcceptedKey[] = "fathom-accepted";

// Right before Finish of a server call: adds the trailing metadata to its context.
grpc::Status to_grpc(const Error& error, grpc::ServerContextBase& context);
grpc::Status to_grpc(const Status& status, grpc::ServerContextBase& context);
// A failed client call as an Error, once it is done. A code outside the canonical ones becomes
// UNKNOWN.
Error from_grpc(const grpc::Status& status, const grpc::ClientContext& context);

// Pings after 5 s of silence, gives up after 3 s: a peer whose machine vanished is noticed within 8
// s.
void set_keepalive(grpc::ServerBuilder& builder);
void set_keepalive(grpc::ChannelArguments& args);

}  // namespace fathom::wire
