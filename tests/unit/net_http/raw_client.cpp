#include "tests/unit/net_http/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int kPatienceMs = 10'000;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

}  // namespace

RawClient::RawClient(const std::string& address, int receive_buffer) {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  CHECK(inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr) == 1);
  socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
  if (receive_buffer > 0)
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  CHECK(::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0, std::strerror(errno));
}

RawClient::~RawClient() { close(); }

void RawClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void RawClient::half_close() { ::shutdown(socket_, SHUT_WR); }

bool RawClient::receive() {
  if (ended_) return false;
  pollfd waiting{.fd = socket_, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, kPatienceMs) <= 0) return false;
  char bytes[65536];
  const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
  if (got <= 0) {
    ended_ = true;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

std::string RawClient::take(size_t bytes) {
  std::string out = buffer_.substr(0, bytes);
  buffer_.erase(0, out.size());
  return out;
}

std::string RawClient::read_until(std::string_view marker) {
  size_t at = 0;
  while ((at = buffer_.find(marker)) == std::string::npos)
    if (!receive()) return take(buffer_.size());
  return take(at + marker.size());
}

std::string RawClient::read_to_end() {
  while (receive()) {
  }
  return take(buffer_.size());
}

bool RawClient::at_end() {
  if (!buffer_.empty()) return false;
  return !receive() && ended_;
}

RawResponse RawClient::read_response() {
  RawResponse out;
  const std::string head = read_until("\r\n\r\n");
  if (!head.starts_with("HTTP/1.1 ") || !head.ends_with("\r\n\r\n")) return out;
  out.status = std::stoi(head.substr(9, 3));
  for (size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
    const size_t end = head.find("\r\n", at);
    const size_t colon = head.find(": ", at);
    out.headers[lower(head.substr(at, colon - at))] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (out.status == 304) {
    out.complete = true;
    return out;
  }
  if (out.headers.contains("content-length")) {
    const size_t length = std::stoul(out.headers["content-length"]);
    while (buffer_.size() < length && receive()) {
    }
    out.body = take(length);
    out.complete = out.body.size() == length;
    return out;
  }
  for (;;) {
    const std::string line = read_until("\r\n");
    if (!line.ends_with("\r\n")) return out;
    const size_t size = std::stoul(line, nullptr, 16);
    while (buffer_.size() < size + 2 && receive()) {
    }
    if (buffer_.size() < size + 2) return out;
    out.body += take(size);
    take(2);
    if (size == 0) break;
  }
  out.complete = true;
  return out;
}

std::string raw_request(std::string_view method, std::string_view target, std::string_view body,
                        std::string_view extra_headers) {
  std::string out = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: test\r\n";
  out += extra_headers;
  if (!body.empty())
    out +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return out + "\r\n" + std::string(body);
}

RawResponse ask(const std::string& address, std::string_view method, std::string_view target,
                std::string_view body, std::string_view extra_headers) {
  RawClient client(address);
  client.send(raw_request(method, target, body, extra_headers));
  return client.read_response();
}

}  // namespace fathom
