#include "router/inbox.h"

#include <algorithm>
#include <chrono>

namespace fathom {

bool RouterInbox::take(std::vector<News>& out, Duration patience) {
  // Longer waits would overflow the condition variable's own arithmetic.
  constexpr int64_t kWaitMaxNs = int64_t{3600} * 1'000'000'000;
  const auto wait = std::chrono::nanoseconds(std::clamp<int64_t>(patience.ns, 0, kWaitMaxNs));
  out.clear();
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, wait, [this] { return stopped_ || !news_.empty(); });
  out.swap(news_);
  weight_ = 0;
  return !stopped_;
}

}  // namespace fathom
