#include "net/http_threads.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "base/check.h"
#include "net/http_loops.h"

namespace fathom {
namespace {

namespace asio = boost::asio;

class LoopTimer final : public HttpTimer {
 public:
  LoopTimer(asio::io_context& context, std::function<void()> fire)
      : state_(std::make_shared<State>(context, std::move(fire))) {}
  ~LoopTimer() override { stop(); }

  void after(Duration delay) override {
    const uint64_t round = ++state_->round;
    state_->timer.expires_after(std::chrono::nanoseconds(delay.ns));
    state_->timer.async_wait([state = state_, round](boost::system::error_code error) {
      // A wait whose handler was already queued when it was replaced reports success: the round
      // tells.
      if (!error && state->round == round) state->fire();
    });
  }
  void stop() override {
    ++state_->round;
    state_->timer.cancel();
  }

 private:
  struct State {
    State(asio::io_context& context, std::function<void()> f)
        : timer(context), fire(std::move(f)) {}
    asio::steady_timer timer;
    std::function<void()> fire;
    uint64_t round = 0;
  };
  std::shared_ptr<State> state_;
};

}  // namespace

HttpLoops::HttpLoops(int count) {
  CHECK(count >= 1);
  for (int i = 0; i < count; ++i) loops_.push_back(std::make_unique<Loop>());
  for (auto& loop : loops_)
    loop->thread = std::thread([&context = loop->context] { context.run(); });
}

HttpLoops::~HttpLoops() { stop(); }

void HttpLoops::post(int thread, std::function<void()> work) {
  asio::post(context(thread), std::move(work));
}

std::unique_ptr<HttpTimer> HttpLoops::timer(int thread, std::function<void()> fire) {
  return std::make_unique<LoopTimer>(context(thread), std::move(fire));
}

void HttpLoops::stop() {
  for (auto& loop : loops_) loop->context.stop();
  for (auto& loop : loops_)
    if (loop->thread.joinable()) loop->thread.join();
}

std::unique_ptr<HttpThreads> make_http_threads(int count) {
  return std::make_unique<HttpLoops>(count);
}

}  // namespace fathom
