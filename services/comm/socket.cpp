// How are deadlines kept on a TCP socket? Sockets do not block; each wait is one poll(2) with the
// time that is left. Keepalive probes find a peer whose machine is gone within about 30 s even
// where no deadline is set.
#include "comm/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace fathom {
namespace {

Error gone(const std::string& why) { return {Code::unavailable, why, {}}; }
Error system_error(const std::string& what, int number) {
  return {Code::unavailable, what + ": " + std::strerror(number), {}};
}

int ms_left(Deadline deadline) {
  if (deadline == kNoDeadline) return -1;
  const auto left = deadline - std::chrono::steady_clock::now();
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 1 << 30));
}

Status wait_for(int fd, short events, Deadline deadline) {
  while (true) {
    pollfd p{fd, events, 0};
    const int n = ::poll(&p, 1, ms_left(deadline));
    if (n > 0) return {};
    if (n == 0) return Error{Code::deadline_exceeded, "the peer did not answer in time", {}};
    if (errno != EINTR) return system_error("poll", errno);
  }
}

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

void set_up(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

struct FreeAddresses {
  void operator()(addrinfo* a) const { ::freeaddrinfo(a); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> resolve(const std::string& host, int port, bool passive) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const int rc = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(),
                               &hints, &found);
  if (rc != 0)
    return Error{Code::unavailable, std::string("can not resolve: ") + ::gai_strerror(rc), host};
  return Addresses(found);
}

Result<Socket> connect_once(const addrinfo& address, Deadline deadline) {
  Socket socket(::socket(address.ai_family, address.ai_socktype, address.ai_protocol));
  if (!socket.open()) return system_error("socket", errno);
  set_up(socket.fd());
  if (::connect(socket.fd(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return system_error("connect", errno);
    FATHOM_CHECKED(wait_for(socket.fd(), POLLOUT, deadline));
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return system_error("connect", error);
  }
  return socket;
}

}  // namespace

Deadline deadline_in(Duration d) {
  return std::chrono::steady_clock::now() + std::chrono::nanoseconds(d.ns);
}

void Socket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Status Socket::send(std::span<const std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      data = data.subspan(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      FATHOM_CHECKED(wait_for(fd_, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return system_error("send", errno);
    }
  }
  return {};
}

Status Socket::receive(std::span<std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    const ssize_t n = ::recv(fd_, data.data(), data.size(), 0);
    if (n > 0) {
      data = data.subspan(static_cast<size_t>(n));
    } else if (n == 0) {
      return gone("the peer closed the connection");
    } else if (errno == EAGAIN) {
      FATHOM_CHECKED(wait_for(fd_, POLLIN, deadline));
    } else if (errno != EINTR) {
      return system_error("receive", errno);
    }
  }
  return {};
}

Result<Socket> listen_on(const std::string& host, int port) {
  FATHOM_TRY(const Addresses addresses, resolve(host, port, true));
  Error last = gone("no address to listen on");
  for (const addrinfo* a = addresses.get(); a; a = a->ai_next) {
    Socket socket(::socket(a->ai_family, a->ai_socktype, a->ai_protocol));
    if (!socket.open()) continue;
    set_up(socket.fd());
    set_option(socket.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(socket.fd(), a->ai_addr, a->ai_addrlen) == 0 && ::listen(socket.fd(), 64) == 0)
      return socket;
    last = system_error("can not listen on port " + std::to_string(port), errno);
  }
  last.field = host;
  return last;
}

int port_of(const Socket& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET6)
    return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
  return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

Result<Socket> accept_from(const Socket& listener, Deadline deadline) {
  while (true) {
    FATHOM_CHECKED(wait_for(listener.fd(), POLLIN, deadline));
    const int fd = ::accept(listener.fd(), nullptr, nullptr);
    if (fd >= 0) {
      set_up(fd);
      return Socket(fd);
    }
    // The peer may have given up between poll and accept.
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
      return system_error("accept", errno);
  }
}

Result<Socket> connect_to(const std::string& host, int port, Deadline deadline) {
  constexpr int kRetryMs = 50;
  while (true) {
    Error last = gone("no address");
    if (auto addresses = resolve(host, port, false); addresses.ok()) {
      for (const addrinfo* a = addresses->get(); a; a = a->ai_next) {
        auto socket = connect_once(*a, deadline);
        if (socket.ok()) return socket;
        last = socket.error();
      }
    } else {
      last = addresses.error();
    }
    const int left = ms_left(deadline);
    if (left == 0) {
      last.field = host + ":" + std::to_string(port);
      return last;
    }
    ::poll(nullptr, 0, left < 0 ? kRetryMs : std::min(left, kRetryMs));
  }
}

}  // namespace fathom
