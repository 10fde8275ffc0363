// How do bytes go to a peer and when do we give up? A TCP connection on which whole spans are sent
// and received before a deadline; a closed or silent connection is an error, never a hang. Waiting
// is poll(2), never a loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"

namespace fathom {

using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();
Deadline deadline_in(Duration d);

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() { close(); }

  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void close();

  Status send(std::span<const std::byte> data, Deadline deadline);
  // Fills `data`. DEADLINE_EXCEEDED when it takes longer, UNAVAILABLE when the peer is gone.
  Status receive(std::span<std::byte> data, Deadline deadline);

 private:
  int fd_ = -1;
};

// "host" may be a name or an address; port 0 asks the system for a free one.
Result<Socket> listen_on(const std::string& host, int port);
int port_of(const Socket& listener);
Result<Socket> accept_from(const Socket& listener, Deadline deadline);
// Tries again until the deadline: the peer may still be starting.
Result<Socket> connect_to(const std::string& host, int port, Deadline deadline);

}  // namespace fathom
