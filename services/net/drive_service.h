// How does a worker hear its router? The Drive service: one router at a time, the newest epoch wins.
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
  // A router opened a stream. An error refuses it (the stream ends with that status). After success the service
  // sends the Welcome, ends the stream before this one, and on_edits follows for this stream only.
  virtual Result<Welcome> on_hello(const Hello& hello) = 0;
  virtual void on_edits(Edits edits) = 0;  // without the Hello
  virtual void on_router_gone() = 0;       // the current stream ended; everything it ran is to be dropped
};

class DriveService {
 public:
  virtual ~DriveService() = default;
  virtual grpc::Service& grpc() = 0;
  // Queues a report on the current stream; dropped when there is none. Never blocks.
  virtual void send(Report report) = 0;
  virtual void stop() = 0;
};

std::unique_ptr<DriveService> make_drive_service(DriveHandler& handler);

}  // namespace fathom
