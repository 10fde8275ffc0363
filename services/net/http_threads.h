// On which thread does a client connection live? On exactly one of a few event loops, for its whole
// life, so nothing that belongs to a connection needs a lock. Others reach it by posting work to
// that loop.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"

namespace fathom {

// One alarm on one loop; set, fired and destroyed on that loop only. Destroying it cancels.
class HttpTimer {
 public:
  virtual ~HttpTimer() = default;
  virtual void after(Duration delay) = 0;  // replaces what was set before
  virtual void stop() = 0;
};

class HttpThreads {
 public:
  virtual ~HttpThreads() = default;
  virtual int count() const = 0;
  // Runs `work` on that loop soon, in order of posting. From any thread; dropped after stop().
  virtual void post(int thread, std::function<void()> work) = 0;
  virtual std::unique_ptr<HttpTimer> timer(int thread, std::function<void()> fire) = 0;
  // Ends the loops and joins them; work that did not run yet is dropped. Called by the owner, not
  // on a loop.
  virtual void stop() = 0;
};

std::unique_ptr<HttpThreads> make_http_threads(int count);

}  // namespace fathom
