// How do the ranks of a group find each other? The leader listens at the address all processes are
// given; threads of one process need no address.
#include "comm/group.h"

#include <charconv>

#include "comm/solo.h"
#include "comm/tcp.h"
#include "engine/model_ranks.h"

namespace fathom {
namespace {

struct HostPort {
  std::string host;
  int port = 0;
};

Result<HostPort> split_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  HostPort out;
  if (colon == std::string::npos || colon == 0)
    return invalid("\"" + text + "\" is not host:port", "group.leader");
  out.host = text.substr(0, colon);
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, out.port);
  if (parsed.ec != std::errc() || parsed.ptr != end || out.port < 0 || out.port > 65535)
    return invalid("\"" + text + "\" has no port", "group.leader");
  return out;
}

}  // namespace

Result<std::vector<std::unique_ptr<Comm>>> connect_group(const TpEngineConfig& config,
                                                         const std::string& digest) {
  const GroupPlace& place = config.group;
  std::vector<std::unique_ptr<Comm>> solo;
  if (config.tensor_parallel == 1) {
    solo.push_back(make_solo());
    return solo;
  }
  if (place.processes == 1) return make_group({.threads = config.tensor_parallel}, nullptr);
  FATHOM_TRY(const HostPort at, split_address(place.leader));
  const TcpGroup group{.processes = place.processes,
                       .process = place.process,
                       .threads = config.tensor_parallel / place.processes,
                       .digest = digest,
                       .join_timeout = place.connect_time_max};
  if (place.process != 0) return join_tcp_group(group, at.host, at.port);
  FATHOM_TRY(Socket listener, listen_on(at.host, at.port));
  if (place.listening) place.listening(port_of(listener));
  return lead_tcp_group(group, std::move(listener));
}

}  // namespace fathom
