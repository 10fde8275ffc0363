// How do processes form a group? One leads and listens, the others connect; everything meets at the
// leader, which adds the ranks' data in rank order and sends the sum back. Every process holds the
// same number of threads, whose ranks follow each other. Anything that would make ranks disagree
// (sizes, digest) is refused at the handshake, naming the field.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/comm.h"
#include "comm/socket.h"

namespace fathom {

struct TcpGroup {
  int processes = 1;
  int process = 0;     // the leader is 0
  int threads = 1;     // ranks of each process
  std::string digest;  // of everything all ranks must share: model, layout, settings
  Duration join_timeout = Duration::seconds(60);
  // Longest wait for a peer inside a collective. A broadcast may begin any time later: an idle
  // group waits there for its next step, and a peer that dies meanwhile is noticed by its
  // connection.
  Duration timeout = Duration::seconds(30);
};

// The ranks of this process. The leader brings a socket from listen_on; strangers and misfits that
// connect are refused and do not count, until join_timeout.
Result<std::vector<std::unique_ptr<Comm>>> lead_tcp_group(const TcpGroup& group, Socket listener);
Result<std::vector<std::unique_ptr<Comm>>> join_tcp_group(const TcpGroup& group,
                                                          const std::string& host, int port);

}  // namespace fathom
