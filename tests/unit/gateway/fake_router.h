// Who is on the other side of the gateway in these tests? A router in the same process: what the
// gateway sends is kept for the test to look at, what the test says arrives as if from the link's
// thread. It can also answer by itself, from a script.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "gateway/gateway.h"

namespace fathom {

class FakeRouter {
 public:
  // What to answer to a submit, at once; empty leaves it to the test.
  using Script = std::function<std::vector<FromRouter>(const Submit&)>;

  RouterLinkFactory factory();
  WatchLinkFactory watch_factory();
  void answer_by(Script script);

  // As the link would.
  void connect(std::optional<ClusterState> state = ready_state());
  void lose();
  void tell(std::vector<FromRouter> events);
  void refuse_sends(std::optional<Error> error);  // what send() says from now on

  // To whoever watches. What the gateway said it has is asked as the link would.
  void show(ClusterUpdate update) { watch_events_->on_update(std::move(update)); }
  void lose_watch() { watch_events_->on_watch_lost({Code::unavailable, "test", ""}); }
  WatchFrom watched_so_far() { return watch_events_->watched_so_far(); }
  bool wait_watched(bool wanted);  // false when it is not so within ten seconds

  // The next message of this kind; nothing after ten seconds.
  std::optional<Submit> next_submit();
  std::optional<Cancel> next_cancel();
  int submits() const;

  static ClusterState ready_state();

 private:
  class Link;
  class Watch;
  Status take(std::vector<ToRouter> messages);
  template <class T>
  std::optional<T> next(std::deque<T>& queue);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Submit> submits_;
  std::deque<Cancel> cancels_;
  int submitted_ = 0;
  bool connected_ = false;
  std::optional<Error> refusal_;
  Script script_;
  RouterEvents* events_ = nullptr;
  WatchEvents* watch_events_ = nullptr;
  bool watched_ = false;
};

}  // namespace fathom
