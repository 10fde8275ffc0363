#include "gateway/keys_watch.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "gateway/admission.h"

namespace fathom {

KeysWatch::KeysWatch(Admission& admission)
    : thread_([&admission](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any stopped;
        std::unique_lock lock(mutex);
        while (!stop.stop_requested()) {
          // Nothing is ever true: the wait ends after a second, or at once when stop is asked for.
          stopped.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; });
          if (!stop.stop_requested()) admission.look();
        }
      }) {}

}  // namespace fathom
