#include "net/http_server.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <latch>

#include "net/http_loops.h"
#include "net/http_session.h"
#include "process/log.h"

namespace fathom {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kRefusedConnectionsMax =
    64;  // beyond the limit, that many are told why; more are just closed

void log_failure(const std::exception_ptr& failure) {
  if (!failure) return;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    log_error("http session failed", {{"why", e.what()}});
  }
}

std::string show(const tcp::endpoint& endpoint) {
  const auto address = endpoint.address().to_string();
  const auto port = std::to_string(endpoint.port());
  return endpoint.address().is_v6() ? "[" + address + "]:" + port : address + ":" + port;
}

void admit(tcp::socket socket, int thread, HttpLoops& loops,
           const std::shared_ptr<HttpShared>& shared) {
  const int over = ++shared->connections - shared->limits.connections_max;
  if (over > kRefusedConnectionsMax) {
    --shared->connections;
    return;
  }
  auto moved = std::make_shared<tcp::socket>(std::move(socket));
  auto& context = loops.context(thread);
  asio::post(context, [moved, thread, over, shared, &context] {
    const auto session = std::make_shared<HttpSession>(std::move(*moved), thread, shared);
    const auto ended = [session](const std::exception_ptr& failure) { log_failure(failure); };
    if (over > 0) {
      asio::co_spawn(context, session->refuse_connection(), ended);
    } else {
      asio::co_spawn(context, session->run(), ended);
    }
  });
}

// Owns what it uses, so it may end after the server did.
asio::awaitable<void> accept_connections(std::shared_ptr<tcp::acceptor> acceptor, HttpLoops& loops,
                                         std::shared_ptr<HttpShared> shared) {
  asio::steady_timer pause(loops.context(0));
  for (int next = 0; acceptor->is_open(); next = (next + 1) % loops.count()) {
    error_code error;
    tcp::socket socket = co_await acceptor->async_accept(
        loops.context(next), asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {  // out of descriptors: connections wait in the backlog until some are free
      log_warning("accept failed", {{"why", error.message()}});
      pause.expires_after(std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    admit(std::move(socket), next, loops, shared);
  }
}

class Server final : public HttpServer {
 public:
  Server(const HttpServerConfig& config, HttpLoops& loops, HttpHandler& handler)
      : loops_(loops),
        shared_(std::make_shared<HttpShared>()),
        acceptor_(std::make_shared<tcp::acceptor>(loops.context(0))) {
    shared_->limits = config.limits;
    shared_->handler = &handler;
    shared_->id_seed = config.id_seed;
    shared_->sessions.resize(static_cast<size_t>(loops.count()));
    ticks_.resize(static_cast<size_t>(loops.count()));
  }
  ~Server() override { stop(); }

  Status listen(const std::string& address);
  void start();
  std::string address() const override { return address_; }
  int connections() const override { return shared_->connections; }
  void drain() override { shared_->draining = true; }
  void stop() override;

 private:
  void tick(int thread);
  Duration tick_every() const;

  HttpLoops& loops_;
  std::shared_ptr<HttpShared> shared_;
  std::shared_ptr<tcp::acceptor> acceptor_;
  std::string address_;
  std::vector<std::unique_ptr<HttpTimer>> ticks_;
  bool stopped_ = false;
};

Status Server::listen(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return invalid("address must be host:port", address);
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  error_code error;
  tcp::resolver resolver(loops_.context(0));
  const auto found =
      resolver.resolve(host, address.substr(colon + 1),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || found.empty())
    return invalid("address can not be resolved: " + error.message(), address);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_->open(endpoint.protocol(), error);
  if (!error) acceptor_->set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_->bind(endpoint, error);
  if (!error) acceptor_->listen(1024, error);
  if (error)
    return Error{Code::unavailable, "cannot listen on " + address + ": " + error.message(),
                 address};
  address_ = show(acceptor_->local_endpoint(error));
  return {};
}

void Server::start() {
  asio::co_spawn(loops_.context(0), accept_connections(acceptor_, loops_, shared_), log_failure);
  for (int thread = 0; thread < loops_.count(); ++thread)
    ticks_[static_cast<size_t>(thread)] = loops_.timer(thread, [this, thread] { tick(thread); });
  for (int thread = 0; thread < loops_.count(); ++thread)
    loops_.post(thread, [this, thread] { tick(thread); });
}

Duration Server::tick_every() const {
  const HttpLimits& l = shared_->limits;
  const double least =
      std::min({l.header_seconds_max, l.body_seconds_max, l.idle_seconds_max, l.write_seconds_max});
  return Duration::seconds(std::clamp(least / 4, 0.01, 0.25));
}

void Server::tick(int thread) {
  const auto& sessions = shared_->sessions[static_cast<size_t>(thread)];
  const std::vector<HttpSession*> now(sessions.begin(), sessions.end());
  for (HttpSession* session : now)
    if (sessions.contains(session)) session->tick();
  ticks_[static_cast<size_t>(thread)]->after(tick_every());
}

void Server::stop() {
  if (stopped_) return;
  stopped_ = true;
  shared_->stopped = true;
  std::latch done(loops_.count());
  for (int thread = 0; thread < loops_.count(); ++thread) {
    loops_.post(thread, [this, thread, &done] {
      if (thread == 0) {
        error_code ignored;
        acceptor_->close(ignored);
      }
      ticks_[static_cast<size_t>(thread)].reset();
      const auto& sessions = shared_->sessions[static_cast<size_t>(thread)];
      const std::vector<HttpSession*> now(sessions.begin(), sessions.end());
      for (HttpSession* session : now)
        if (sessions.contains(session)) session->abort();
      done.count_down();
    });
  }
  done.wait();
}

}  // namespace

Result<std::unique_ptr<HttpServer>> start_http_server(const HttpServerConfig& config,
                                                      HttpThreads& threads, HttpHandler& handler) {
  auto server = std::make_unique<Server>(config, static_cast<HttpLoops&>(threads), handler);
  if (const Status listening = server->listen(config.listen); !listening.ok())
    return listening.error();
  server->start();
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace fathom
