#include "net/http_session.h"

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>

#include "base/philox.h"
#include "net/http_answer.h"
#include "net/http_target.h"
#include "process/log.h"

namespace fathom {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kPipelinedBytesMax = 64 << 10;  // read ahead while a request is being answered
constexpr size_t kDiscardedBytesMax = 64 << 20;  // of a refused request, so the refusal arrives
constexpr double kLingerSeconds = 2;

}  // namespace

asio::awaitable<void> HttpSignal::wait() {
  error_code cancelled;
  while (!raised_) co_await alarm_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

void HttpSignal::raise() {
  raised_ = true;
  // Wakes through the loop, so whoever raises it is never run over by the session going on.
  alarm_.cancel();
}

HttpSession::HttpSession(asio::ip::tcp::socket socket, int thread,
                         std::shared_ptr<HttpShared> shared)
    : socket_(std::move(socket)),
      thread_(thread),
      shared_(std::move(shared)),
      buffer_(static_cast<size_t>(shared_->limits.header_bytes_max) + kPipelinedBytesMax + 4096),
      idle_(socket_.get_executor()),
      watch_ended_(socket_.get_executor()) {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  shared_->sessions[static_cast<size_t>(thread_)].insert(this);
}

HttpSession::~HttpSession() {
  shared_->sessions[static_cast<size_t>(thread_)].erase(this);
  --shared_->connections;
}

asio::awaitable<void> HttpSession::run() {
  while (open_ && keep_alive_ && !(served_ && shared_->draining) && !shared_->stopped) {
    ServerRequest request;
    const bool got = co_await read_request(request);
    if (!got || shared_->stopped) break;
    co_await serve(std::move(request));
  }
  co_await linger();
  open_ = false;
  error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> HttpSession::refuse_connection() {
  co_await refuse(503, "too many connections; try again later");
  co_await linger();
  open_ = false;
  error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> HttpSession::serve(ServerRequest request) {
  enter(Phase::handling, 0);
  served_ = true;
  answered_ = false;
  idle_.reset();
  answer_ = std::make_shared<ServerAnswer>(shared_from_this(), std::move(request));
  shared_->handler->handle(answer_);
  if (!answered_) watch();
  co_await idle_.wait();
  answer_.reset();
  if (watching_) {
    watch_ended_.reset();
    error_code ignored;
    socket_.cancel(ignored);
    co_await watch_ended_.wait();
  }
}

void HttpSession::watch() {
  if (!open_ || buffer_.size() >= kPipelinedBytesMax) return;
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(4096),
                          [self = shared_from_this(), this](error_code error, size_t bytes) {
                            watching_ = false;
                            if (!error) {
                              buffer_.commit(bytes);
                              if (!answered_) watch();
                            } else if (error != asio::error::operation_aborted) {
                              keep_alive_ = false;
                              if (answer_ && !answered_) answer_->closed(HttpClosed::by_client);
                            }
                            if (!watching_) watch_ended_.raise();
                          });
}

// Says goodbye so that the client reads the answer before it sees a reset: no more is sent, and
// what it still sends is thrown away for a moment.
asio::awaitable<void> HttpSession::linger() {
  if (!open_) co_return;
  error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error) co_return;
  enter(Phase::lingering, kLingerSeconds);
  buffer_.clear();
  size_t discarded = 0;
  while (!error && !timed_out_ && discarded < kDiscardedBytesMax) {
    const size_t bytes = co_await socket_.async_read_some(
        buffer_.prepare(kPipelinedBytesMax), asio::redirect_error(asio::use_awaitable, error));
    discarded += bytes;
  }
}

void HttpSession::enter(Phase phase, double seconds_max) {
  phase_ = phase;
  timed_out_ = false;
  deadline_ = seconds_max > 0 ? clock_.now() + Duration::seconds(seconds_max) : kNever;
}

void HttpSession::tick() {
  const Instant now = clock_.now();
  const bool must_go = phase_ == Phase::idle && served_ && shared_->draining;
  if (now >= deadline_ || must_go) {
    timed_out_ = true;
    deadline_ = kNever;
    error_code ignored;
    socket_.cancel(ignored);
  }
  if (now >= write_deadline_) lost(HttpClosed::too_slow);
}

void HttpSession::abort() {
  if (answer_ && !answered_) answer_->closed(HttpClosed::by_server);
  open_ = false;
  error_code ignored;
  socket_.close(ignored);
  idle_.raise();
}

void HttpSession::send(std::string bytes) {
  if (!open_) return;
  if (out_.empty()) {
    out_ = std::move(bytes);
  } else {
    out_ += bytes;
  }
  flush();
}

void HttpSession::send_piece(std::string_view bytes) {
  if (!open_) return;
  if (http10_) {
    out_ += bytes;
  } else {
    append_chunk(out_, bytes);
  }
  flush();
  if (static_cast<int64_t>(out_.size()) > shared_->limits.stream_buffer_max)
    lost(HttpClosed::too_slow);
}

void HttpSession::answer_done() {
  answered_ = true;
  if (!open_ || (!write_pending_ && out_.empty())) idle_.raise();
}

void HttpSession::flush() {
  if (!write_pending_) write_more();
}

// Writes what the socket takes at once; only a full socket costs a trip through the event loop.
void HttpSession::write_more() {
  while (open_) {
    if (written_ == writing_.size()) {
      written_ = 0;
      writing_.clear();
      if (out_.empty()) break;
      writing_.swap(out_);
    }
    error_code error;
    written_ += socket_.write_some(
        asio::buffer(writing_.data() + written_, writing_.size() - written_), error);
    if (error == asio::error::would_block || error == asio::error::try_again) {
      write_pending_ = true;
      write_deadline_ = clock_.now() + Duration::seconds(shared_->limits.write_seconds_max);
      socket_.async_wait(asio::socket_base::wait_write,
                         [self = shared_from_this(), this](error_code failed) {
                           write_pending_ = false;
                           write_deadline_ = kNever;
                           if (failed && open_) return lost(HttpClosed::by_client);
                           write_more();
                         });
      return;
    }
    if (error) return lost(HttpClosed::by_client);
  }
  if (answered_) idle_.raise();
}

void HttpSession::lost(HttpClosed why) {
  if (!open_) return;
  open_ = false;
  keep_alive_ = false;
  write_deadline_ = kNever;
  error_code ignored;
  socket_.close(ignored);
  // Posted: the handler may be in the middle of a write().
  asio::post(socket_.get_executor(), [self = shared_from_this(), this, why] {
    if (answer_ && !answered_) answer_->closed(why);
    idle_.raise();
  });
}

}  // namespace fathom
