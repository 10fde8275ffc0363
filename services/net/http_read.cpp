// How does a session get one whole request, or refuse it? Limits of size and time hold for header
// and body apart; what is refused is answered in words before the connection ends.
#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>

#include "base/philox.h"
#include "net/http_answer.h"
#include "net/http_session.h"
#include "net/http_target.h"

namespace fathom {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

std::string_view ServerRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_case_name) return value;
  return {};
}

std::string HttpSession::next_id() {
  const auto r = philox(shared_->id_seed, shared_->ids++);
  std::string id = "req_";
  for (const uint32_t word : r)
    for (int shift = 28; shift >= 0; shift -= 4) id += "0123456789abcdef"[(word >> shift) & 15];
  return id;
}

asio::awaitable<void> HttpSession::refuse(int status, std::string_view message) {
  keep_alive_ = false;
  if (shared_->stopped) co_return;
  answered_ = true;
  idle_.reset();
  const ServerResponse response = shared_->handler->refuse(status, message);
  send(http_head(response, next_id(), /*chunked=*/false, keep_alive_, http10_) + response.body);
  co_await idle_.wait();
}

asio::awaitable<bool> HttpSession::read_request(ServerRequest& out) {
  error_code error;
  enter(Phase::idle, shared_->limits.idle_seconds_max);
  if (buffer_.size() == 0) {
    const size_t bytes = co_await socket_.async_read_some(
        buffer_.prepare(4096), asio::redirect_error(asio::use_awaitable, error));
    buffer_.commit(bytes);
    if (error) co_return false;
  }
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(shared_->limits.header_bytes_max));
  parser.body_limit(static_cast<uint64_t>(shared_->limits.body_bytes_max));
  const bool has_header = co_await read_header(parser);
  if (!has_header || !open_) co_return false;
  out = take(parser);
  const HttpTarget target = split_target(out.path);
  if (!target.ok) {
    co_await refuse(400, "the request target is not a path");
    co_return false;
  }
  out.path = target.path;
  out.query = target.query;
  co_return true;
}

asio::awaitable<bool> HttpSession::read_header(Parser& parser) {
  error_code error;
  enter(Phase::header, shared_->limits.header_seconds_max);
  co_await http::async_read_header(socket_, buffer_, parser,
                                   asio::redirect_error(asio::use_awaitable, error));
  http10_ = parser.get().version() < 11;
  if (!error && !parser.is_done()) {
    if (boost::beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(socket_, asio::buffer(kContinue),
                                 asio::redirect_error(asio::use_awaitable, error));
    }
    enter(Phase::body, shared_->limits.body_seconds_max);
    if (!error)
      co_await http::async_read(socket_, buffer_, parser,
                                asio::redirect_error(asio::use_awaitable, error));
  }
  deadline_ = kNever;
  if (!error) co_return true;
  int status = 0;
  std::string message;
  if (timed_out_) {
    status = 408;
    message = "the request did not arrive in time";
  } else if (error == http::error::body_limit) {
    status = 413;
    message = "the request body is larger than " + std::to_string(shared_->limits.body_bytes_max) +
              " bytes";
  } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    status = 431;
    message = "the request header is larger than " +
              std::to_string(shared_->limits.header_bytes_max) + " bytes";
  } else if (error == http::error::partial_message) {
    status = 400;
    message = "the connection was half-closed before the request was complete";
  } else if (error.category() == make_error_code(http::error::bad_method).category() &&
             error != http::error::end_of_stream) {
    status = 400;
    message = "this is not an HTTP/1.1 request: " + error.message();
  }
  if (status != 0) co_await refuse(status, message);
  co_return false;
}

ServerRequest HttpSession::take(Parser& parser) {
  auto message = parser.release();
  ServerRequest out;
  out.method = std::string(message.method_string());
  out.path = std::string(message.target());
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    out.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  out.body = std::move(message.body());
  const std::string_view asked = out.header("x-request-id");
  out.id = is_plain_word(asked) ? std::string(asked) : next_id();
  keep_alive_ = message.keep_alive() && !http10_ && !shared_->draining;
  head_only_ = message.method() == http::verb::head;
  return out;
}

}  // namespace fathom
