// How does a router reach its workers? One Drive stream each, opened by the router and opened again when it
// breaks. Each connection has a fresh WorkerId.
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
  virtual void on_worker_down(WorkerId worker, const std::string& address, const Error& why) = 0;
};

class DriveLinks {
 public:
  virtual ~DriveLinks() = default;
  // Starts keeping a stream to this worker, each opened with `hello`. Names are resolved again at each try, and
  // every address a name resolves to is one worker (dns:///name:port of a headless Kubernetes service).
  virtual void add(const std::string& address) = 0;
  virtual void send(WorkerId worker, Edits edits) = 0;  // never blocks; ignored once the worker is down
  virtual void disconnect(WorkerId worker, const Error& why) = 0;  // e.g. its Welcome was refused
  virtual void stop() = 0;
};

std::unique_ptr<DriveLinks> make_drive_links(const Hello& hello, WorkerEvents& events);

}  // namespace fathom
