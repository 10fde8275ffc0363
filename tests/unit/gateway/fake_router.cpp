#include "tests/unit/gateway/fake_router.h"

namespace fathom {

class FakeRouter::Link final : public RouterLink {
 public:
  explicit Link(FakeRouter& router) : router_(router) {}
  Status send(std::vector<ToRouter> messages) override { return router_.take(std::move(messages)); }

 private:
  FakeRouter& router_;
};

class FakeRouter::Watch final : public WatchLink {
 public:
  explicit Watch(FakeRouter& router) : router_(router) {}
  void watch(bool wanted) override {
    const std::lock_guard lock(router_.mutex_);
    router_.watched_ = wanted;
    router_.changed_.notify_all();
  }

 private:
  FakeRouter& router_;
};

WatchLinkFactory FakeRouter::watch_factory() {
  return [this](WatchEvents& events) -> std::unique_ptr<WatchLink> {
    watch_events_ = &events;
    return std::make_unique<Watch>(*this);
  };
}

bool FakeRouter::wait_watched(bool wanted) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return watched_ == wanted; });
}

ClusterState FakeRouter::ready_state() {
  return {.ready = true,
          .model = "tiny",
          .model_digest = "digest-1",
          .context_max = 4096,
          .vocab = 512,
          .prefill_workers = 1,
          .decode_workers = 1};
}

RouterLinkFactory FakeRouter::factory() {
  return [this](RouterEvents& events) -> std::unique_ptr<RouterLink> {
    events_ = &events;
    return std::make_unique<Link>(*this);
  };
}

void FakeRouter::answer_by(Script script) {
  const std::lock_guard lock(mutex_);
  script_ = std::move(script);
}

void FakeRouter::connect(std::optional<ClusterState> state) {
  {
    const std::lock_guard lock(mutex_);
    connected_ = true;
  }
  events_->on_router_connected();
  if (state) tell({*state});
}

void FakeRouter::lose() {
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
  }
  events_->on_router_lost({Code::unavailable, "test", ""});
}

void FakeRouter::tell(std::vector<FromRouter> events) { events_->on_events(std::move(events)); }

void FakeRouter::refuse_sends(std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  refusal_ = std::move(error);
}

Status FakeRouter::take(std::vector<ToRouter> messages) {
  std::vector<FromRouter> answers;
  {
    const std::lock_guard lock(mutex_);
    if (refusal_) return *refusal_;
    if (!connected_) return Error{Code::unavailable, "not connected", ""};
    for (ToRouter& message : messages) {
      if (auto* cancel = std::get_if<Cancel>(&message)) cancels_.push_back(*cancel);
      auto* submit = std::get_if<Submit>(&message);
      if (submit == nullptr) continue;
      ++submitted_;
      if (script_)
        for (FromRouter& event : script_(*submit)) answers.push_back(std::move(event));
      submits_.push_back(std::move(*submit));
    }
    changed_.notify_all();
  }
  if (!answers.empty()) tell(std::move(answers));
  return {};
}

template <class T>
std::optional<T> FakeRouter::next(std::deque<T>& queue) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, std::chrono::seconds(10), [&] { return !queue.empty(); }))
    return std::nullopt;
  T out = std::move(queue.front());
  queue.pop_front();
  return out;
}

std::optional<Submit> FakeRouter::next_submit() { return next(submits_); }
std::optional<Cancel> FakeRouter::next_cancel() { return next(cancels_); }
int FakeRouter::submits() const {
  const std::lock_guard lock(mutex_);
  return submitted_;
}

}  // namespace fathom
