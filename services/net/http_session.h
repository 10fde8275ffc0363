// What happens on one client connection? A coroutine reads a request, hands it over and waits for
// the answer to be written, again and again; beside it a pending read notices a client that leaves.
// Private to net/.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "net/http_server.h"

namespace fathom {

class HttpSession;

// What all sessions of a server share; one set of sessions per loop, touched on that loop only.
struct HttpShared {
  HttpLimits limits;
  HttpHandler* handler = nullptr;
  uint64_t id_seed = 0;
  std::atomic<uint64_t> ids{0};
  std::atomic<int> connections{0};
  std::atomic<bool> draining{false};
  std::atomic<bool> stopped{false};  // the handler must not be called any more
  std::vector<std::unordered_set<HttpSession*>> sessions;  // by loop
};

// One waiter on one loop; raising it before it is awaited is remembered.
class HttpSignal {
 public:
  explicit HttpSignal(const boost::asio::any_io_executor& executor)
      : alarm_(executor, boost::asio::steady_timer::time_point::max()) {}
  boost::asio::awaitable<void> wait();
  void raise();
  void reset() { raised_ = false; }

 private:
  boost::asio::steady_timer alarm_;  // never fires: cancelling it wakes the waiter
  bool raised_ = false;
};

class ServerAnswer;

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, int thread, std::shared_ptr<HttpShared> shared);
  ~HttpSession();
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> refuse_connection();
  void tick();   // checks the time limits
  void abort();  // the server stops

  // For the answer of the current exchange.
  void send(std::string bytes);
  void send_piece(std::string_view bytes);  // bounded
  void answer_done();
  bool open() const { return open_; }
  bool keep_alive() const { return keep_alive_; }
  bool http10() const { return http10_; }
  bool head_only() const { return head_only_; }
  int thread() const { return thread_; }

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  enum class Phase : uint8_t { idle, header, body, handling, lingering };

  boost::asio::awaitable<bool> read_request(ServerRequest& out);
  boost::asio::awaitable<bool> read_header(Parser& parser);
  boost::asio::awaitable<void> refuse(int status, std::string_view message);
  boost::asio::awaitable<void> serve(ServerRequest request);
  boost::asio::awaitable<void> linger();
  ServerRequest take(Parser& parser);
  std::string next_id();
  void enter(Phase phase, double seconds_max);
  void watch();
  void flush();
  void write_more();
  void lost(HttpClosed why);

  boost::asio::ip::tcp::socket socket_;
  const int thread_;
  std::shared_ptr<HttpShared> shared_;
  boost::beast::flat_buffer buffer_;
  SystemClock clock_;

  Phase phase_ = Phase::idle;
  Instant deadline_ = kNever;
  bool timed_out_ = false;
  bool open_ = true;        // writes may still arrive
  bool keep_alive_ = true;  // after the current answer
  bool served_ = false;     // at least one request
  bool http10_ = false;
  bool head_only_ = false;

  std::shared_ptr<ServerAnswer> answer_;
  bool answered_ = false;
  HttpSignal idle_;  // the answer is complete and written, or the connection broke
  bool watching_ = false;
  HttpSignal watch_ended_;

  std::string out_;      // waits for the write in flight
  std::string writing_;  // in flight
  size_t written_ = 0;
  bool write_pending_ = false;
  Instant write_deadline_ = kNever;
};

}  // namespace fathom
