#include "net/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

namespace fathom {
namespace {

// Below it stand the ports of well-known services.
constexpr int32_t kLowestPort = 10000;

class Socket {
 public:
  Socket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

Error system_error(const std::string& what) {
  return {Code::failed_precondition, what + ": " + std::strerror(errno), {}};
}

// Binds and reads back the port; port 0 lets the system choose.
Result<uint16_t> bind_port(const Socket& socket, uint32_t address, uint16_t port, bool reuse) {
  const int on = 1;
  if (reuse) ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(address);
  name.sin_port = htons(port);
  auto* generic = reinterpret_cast<sockaddr*>(&name);
  if (socket.fd() < 0 || ::bind(socket.fd(), generic, sizeof name) != 0)
    return system_error("port " + std::to_string(port));
  socklen_t size = sizeof name;
  ::getsockname(socket.fd(), generic, &size);
  return ntohs(name.sin_port);
}

}  // namespace

Status port_is_free(uint16_t port) {
  const Socket socket;
  // Servers set SO_REUSEADDR, so a port in TIME_WAIT is free; listen() still fails beside another
  // listener.
  FATHOM_TRY(const uint16_t bound, bind_port(socket, INADDR_ANY, port, true));
  if (::listen(socket.fd(), 1) != 0) return system_error("port " + std::to_string(bound));
  return {};
}

Result<std::vector<uint16_t>> free_ports(int count, int32_t end) {
  std::vector<Socket> held;
  std::vector<uint16_t> ports;
  const auto hold = [&](uint16_t port) -> Status {
    FATHOM_TRY(const uint16_t bound, bind_port(held.emplace_back(), INADDR_LOOPBACK, port, false));
    ports.push_back(bound);
    return {};
  };
  // The system chooses among tens of thousands at random; its choice is where to begin.
  const Socket chance;
  FATHOM_TRY(const uint16_t start, bind_port(chance, INADDR_LOOPBACK, 0, false));
  const int32_t span = end - kLowestPort;
  for (int32_t i = 0; i < span && std::ssize(ports) < count; ++i)
    if (!hold(static_cast<uint16_t>(kLowestPort + (start + i) % span)).ok()) held.pop_back();
  while (std::ssize(ports) < count) FATHOM_CHECKED(hold(0));
  return ports;
}

Result<std::vector<uint16_t>> free_ports(int count) {
  int32_t first = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first;
  return free_ports(count, first > 0 ? first : 32768);
}

}  // namespace fathom
