#include "net/timer_loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <set>
#include <thread>

namespace fathom {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Resolver = asio::ip::tcp::resolver;

Result<std::vector<std::string>> addresses_of(const std::string& host, const error_code& error,
                                              const Resolver::results_type& results) {
  if (error)
    return Error{Code::unavailable, "cannot resolve " + host + ": " + error.message(), "address"};
  std::set<std::string> v4, v6;
  for (const auto& entry : results) {
    const auto address = entry.endpoint().address();
    (address.is_v4() ? v4 : v6).insert(address.to_string());
  }
  const auto& chosen = v4.empty() ? v6 : v4;
  return std::vector<std::string>(chosen.begin(), chosen.end());
}

}  // namespace

struct TimerLoop::State {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
  std::thread thread{[this] { context.run(); }};
};

TimerLoop::TimerLoop() : state_(std::make_unique<State>()) {}
TimerLoop::~TimerLoop() { stop(); }

void TimerLoop::post(std::function<void()> task) { asio::post(state_->context, std::move(task)); }

void TimerLoop::after(Duration delay, std::function<void()> task) {
  auto timer = std::make_shared<asio::steady_timer>(state_->context);
  timer->expires_after(std::chrono::nanoseconds(delay.ns));
  timer->async_wait([timer, task = std::move(task)](const error_code& error) {
    if (!error) task();
  });
}

void TimerLoop::resolve(const std::string& host,
                        std::function<void(Result<std::vector<std::string>>)> done) {
  auto resolver = std::make_shared<Resolver>(state_->context);
  resolver->async_resolve(
      host, "",
      [resolver, host, done = std::move(done)](const error_code& error, const auto& results) {
        done(addresses_of(host, error, results));
      });
}

void TimerLoop::stop() {
  state_->context.stop();
  if (state_->thread.joinable()) state_->thread.join();
}

bool is_numeric_address(const std::string& host) {
  error_code error;
  asio::ip::make_address(host, error);
  return !error;
}

}  // namespace fathom
