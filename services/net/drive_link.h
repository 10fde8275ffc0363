// How does a router reach its workers? One Drive stream each, opened by the router and opened again
// when it breaks. Each connection has a fresh WorkerId.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "contract/drive.h"

namespace fathom {

// Called on gRPC threads; must not block.
class WorkerEvents {
 public:
  virtual ~WorkerEvents() = default;
  virtual void on_worker_report(WorkerId worker, const std::string& address, Report report) = 0;
  // Once for each id, last; also for a connection that never came to a Welcome, so the id may be
  // unknown.
  virtual void on_worker_down(WorkerId worker, const std::string& address, const Error& why) = 0;
};

class DriveLinks {
 public:
  virtual ~DriveLinks() = default;
  // Starts keeping a stream to this worker, each opened with `hello`: tried again after 100 ms,
  // doubling to 2 s. Names are resolved at each try and every 5 s, and every address a name
  // resolves to is one worker (dns:///name:port of a headless Kubernetes service). A name with IPv4
  // and IPv6 addresses is taken by its IPv4 ones only, since both may lead to the same worker.
  virtual void add(const std::string& address) = 0;
  // Never blocks; ignored once the worker is down.
  virtual void send(WorkerId worker, Edits edits) = 0;
  // Ends the connection, e.g. when its Welcome was refused; on_worker_down follows with `why`, then
  // the next try.
  virtual void disconnect(WorkerId worker, const Error& why) = 0;
  // Ends all; no event comes after it. Blocks until the streams are gone: not from an event.
  virtual void stop() = 0;
};

// `events` outlives the links.
std::unique_ptr<DriveLinks> make_drive_links(const Hello& hello, WorkerEvents& events);

}  // namespace fathom
