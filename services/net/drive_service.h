// How does a worker hear its router? The Drive service: one router at a time, the newest epoch
// wins.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "contract/drive.h"

namespace grpc {
class Service;
}

namespace fathom {

// Called on gRPC threads, in stream order; must not block.
class DriveHandler {
 public:
  virtual ~DriveHandler() = default;
  // A router opened a stream. An error refuses it (the stream ends with that status, an earlier one
  // goes on). After success the service sends the Welcome, ends the stream before this one without
  // on_router_gone, and on_edits follows for this stream only: on_hello itself is the moment to
  // drop what an earlier stream ran.
  virtual Result<Welcome> on_hello(const Hello& hello) = 0;
  virtual void on_edits(Edits edits) = 0;  // without the Hello
  // The current stream ended and none took its place; everything it ran is to be dropped.
  virtual void on_router_gone() = 0;
};

class DriveService {
 public:
  virtual ~DriveService() = default;
  virtual grpc::Service& grpc() = 0;
  // Queues a report on the current stream; dropped when there is none. Never blocks.
  virtual void send(Report report) = 0;
  // Ends the stream. The handler is not called after it; do not call it from the handler.
  virtual void stop() = 0;
};

// Destroy the service after the server that carries it.
std::unique_ptr<DriveService> make_drive_service(DriveHandler& handler);

}  // namespace fathom
