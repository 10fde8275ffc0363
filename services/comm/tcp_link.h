// How do processes run a collective? All data meets at the leader, rank by rank in order, and the
// result goes back. The first failure ends the link: the leader tells the others which rank it was
// before it hangs up.
#pragma once

#include <memory>
#include <vector>

#include "comm/group.h"
#include "comm/tcp.h"

namespace fathom {

// peers[p] is the connection to process p; a follower has only peers[0], the leader all but its
// own.
std::unique_ptr<Link> make_tcp_link(const TcpGroup& group, std::vector<Socket> peers);

}  // namespace fathom
