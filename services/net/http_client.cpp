#include "net/http_client.h"

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <charconv>
#include <chrono>
#include <deque>
#include <optional>

namespace fathom {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

struct Connection {
  explicit Connection(asio::io_context& loop) : stream(loop) {}
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
};

Error transport_error(const error_code& code, const std::string& where) {
  if (code == beast::error::timeout) return {Code::deadline_exceeded, "no answer in time", where};
  return {Code::unavailable, code.message(), where};
}

std::optional<Duration> seconds_in(std::string_view text) {
  uint32_t seconds = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, seconds);
  if (text.empty() || at != end || error != std::errc()) return std::nullopt;
  return Duration::seconds(seconds);
}

class Client final : public HttpClient {
 public:
  explicit Client(HttpAddress address) : address_(std::move(address)) {}

  void send(HttpRequest request, HttpHandlers handlers) override {
    asio::co_spawn(loop_, exchange(std::move(request), std::move(handlers)), asio::detached);
  }

  void after(Duration delay, std::function<void()> task) override {
    auto timer = std::make_shared<asio::steady_timer>(loop_, std::chrono::nanoseconds(delay.ns));
    timer->async_wait([timer, task = std::move(task)](const error_code& code) {
      if (!code) task();
    });
  }

  void run() override { loop_.run(); }
  void stop() override { loop_.stop(); }

 private:
  std::string where() const { return address_.host + ":" + address_.port; }

  // An idle connection that the server has not closed meanwhile, if there is one.
  std::unique_ptr<Connection> idle_connection() {
    while (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      char byte = 0;
      error_code code;
      auto& socket = connection->stream.socket();
      socket.non_blocking(true, code);
      socket.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, code);
      if (code == asio::error::would_block) return connection;
    }
    return nullptr;
  }

  asio::awaitable<error_code> connect(Connection& connection) {
    error_code code;
    if (endpoints_.empty()) {
      tcp::resolver resolver(loop_);
      endpoints_ = co_await resolver.async_resolve(address_.host, address_.port,
                                                   asio::redirect_error(asio::use_awaitable, code));
    }
    if (!code)
      co_await connection.stream.async_connect(endpoints_,
                                               asio::redirect_error(asio::use_awaitable, code));
    if (!code) connection.stream.socket().set_option(tcp::no_delay(true), code);
    co_return code;
  }

  asio::awaitable<void> exchange(HttpRequest request, HttpHandlers handlers) {
    auto connection = idle_connection();
    error_code code;
    if (!connection) {
      connection = std::make_unique<Connection>(loop_);
      connection->stream.expires_after(std::chrono::nanoseconds(request.patience.ns));
      code = co_await connect(*connection);
    }
    connection->stream.expires_after(std::chrono::nanoseconds(request.patience.ns));
    bool keep = false;
    if (!code) code = co_await write(*connection, request);
    if (!code) code = co_await read(*connection, handlers, keep);
    connection->stream.expires_never();
    if (!code && keep) idle_.push_back(std::move(connection));
    if (handlers.done) handlers.done(code ? Status(transport_error(code, where())) : Status());
  }

  asio::awaitable<error_code> write(Connection& connection, HttpRequest& request) {
    http::request<http::string_body> message(http::string_to_verb(request.method),
                                             address_.prefix + request.target, 11);
    message.set(http::field::host, where());
    for (const auto& [name, value] : request.headers) message.set(name, value);
    message.body() = std::move(request.body);
    message.prepare_payload();
    error_code code;
    co_await http::async_write(connection.stream, message,
                               asio::redirect_error(asio::use_awaitable, code));
    co_return code;
  }

  asio::awaitable<error_code> read(Connection& connection, HttpHandlers& handlers, bool& keep) {
    error_code code;
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    co_await http::async_read_header(connection.stream, connection.buffer, parser,
                                     asio::redirect_error(asio::use_awaitable, code));
    if (code) co_return code;
    if (handlers.head)
      handlers.head({.status = static_cast<int>(parser.get().result_int()),
                     .retry_after = seconds_in(parser.get()[http::field::retry_after])});
    std::array<char, 16384> piece;
    while (!parser.is_done()) {
      auto& body = parser.get().body();
      body.data = piece.data();
      body.size = piece.size();
      body.more = true;
      co_await http::async_read_some(connection.stream, connection.buffer, parser,
                                     asio::redirect_error(asio::use_awaitable, code));
      if (code == http::error::need_buffer) code = {};
      if (code) co_return code;
      const size_t size = piece.size() - body.size;
      if (size > 0 && handlers.body) handlers.body({piece.data(), size});
    }
    keep = parser.get().keep_alive();
    co_return code;
  }

  HttpAddress address_;
  asio::io_context loop_{1};
  tcp::resolver::results_type endpoints_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace

Result<HttpAddress> parse_http_url(std::string_view url) {
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed || parsed->scheme() != "http" || parsed->host().empty())
    return invalid("must look like http://host:port", std::string(url));
  std::string prefix(parsed->encoded_path());
  while (prefix.ends_with('/')) prefix.pop_back();
  return HttpAddress{.host = parsed->host_address(),
                     .port = parsed->has_port() ? std::string(parsed->port()) : "80",
                     .prefix = std::move(prefix)};
}

std::unique_ptr<HttpClient> make_http_client(const HttpAddress& address) {
  return std::make_unique<Client>(address);
}

Result<HttpAnswer> http_call(const HttpAddress& address, HttpRequest request) {
  HttpAnswer answer;
  Status status;
  Client client(address);
  client.send(std::move(request),
              {.head = [&](const HttpHead& head) { answer.status = head.status; },
               .body = [&](std::string_view piece) { answer.body += piece; },
               .done = [&](Status end) { status = std::move(end); }});
  client.run();
  if (!status.ok()) return status.error();
  return answer;
}

}  // namespace fathom
