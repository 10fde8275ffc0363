// What does the leader do that others do not? It reads the other processes' data in rank order,
// adds or places it, and answers everyone with the result; so sums are ((r0 + r1) + r2) + ... over
// the whole group, the same bits everywhere. Followers wait twice as long as the leader, so that
// the leader's word on who failed comes first.
#include "comm/tcp_link.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "comm/frame.h"

namespace fathom {
namespace {

std::span<const std::byte> bytes_of(std::span<const float> data) { return std::as_bytes(data); }

class TcpLink final : public Link {
 public:
  TcpLink(const TcpGroup& group, std::vector<Socket> peers)
      : group_(group), peers_(std::move(peers)) {}

  Status all_reduce(Parts mine, std::span<float> sum) override {
    if (!leads()) return ask(FrameKind::reduce, mine, FrameKind::sum, sum);
    for (size_t t = 0; t < mine.size(); ++t) add(t == 0, mine[t], sum);
    incoming_.resize(sum.size() * mine.size());
    for (int p = 1; p < group_.processes; ++p) {
      FATHOM_CHECKED(receive(p, FrameKind::reduce, std::as_writable_bytes(std::span(incoming_))));
      for (size_t t = 0; t < mine.size(); ++t)
        add(false, std::span<const float>(incoming_).subspan(t * sum.size(), sum.size()), sum);
    }
    return answer(FrameKind::sum, bytes_of(sum), 0);
  }

  Status all_gather(Parts mine, std::span<float> all) override {
    if (!leads()) return ask(FrameKind::gather, mine, FrameKind::all, all);
    auto to = all.begin();
    for (const auto part : mine) to = std::copy(part.begin(), part.end(), to);
    const size_t share = all.size() / static_cast<size_t>(group_.processes);
    for (int p = 1; p < group_.processes; ++p)
      FATHOM_CHECKED(
          receive(p, FrameKind::gather,
                  std::as_writable_bytes(all.subspan(static_cast<size_t>(p) * share, share))));
    return answer(FrameKind::all, bytes_of(all), 0);
  }

  Status broadcast(std::span<std::byte> data, int root) override {
    if (!leads()) {
      if (group_.process == root) return send(0, FrameKind::broadcast, data);
      // An idle group waits here for its next step, so only the connection's end ends the wait.
      return checked(0,
                     receive_frame(peers_[0], FrameKind::broadcast, data, kNoDeadline, patience()));
    }
    if (root != 0) FATHOM_CHECKED(receive(root, FrameKind::broadcast, data));
    return answer(FrameKind::broadcast, data, root);
  }

 private:
  bool leads() const { return group_.process == 0; }
  Duration patience() const { return leads() ? group_.timeout : group_.timeout * 2; }

  static void add(bool first, std::span<const float> x, std::span<float> sum) {
    if (first)
      std::copy(x.begin(), x.end(), sum.begin());
    else
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += x[i];
  }

  Status send(int process, FrameKind kind, std::span<const std::byte> data) {
    return checked(process, send_frame(peers_[static_cast<size_t>(process)], kind, {&data, 1},
                                       deadline_in(patience())));
  }
  Status receive(int process, FrameKind kind, std::span<std::byte> data) {
    return checked(process, receive_frame(peers_[static_cast<size_t>(process)], kind, data,
                                          deadline_in(patience()), patience()));
  }
  // Sends the result to all but `except` (0: to all).
  Status answer(FrameKind kind, std::span<const std::byte> data, int except) {
    for (int p = 1; p < group_.processes; ++p)
      if (p != except) FATHOM_CHECKED(send(p, kind, data));
    return {};
  }
  Status ask(FrameKind kind, Parts mine, FrameKind result_kind, std::span<float> result) {
    std::vector<std::span<const std::byte>> pieces;
    for (const auto part : mine) pieces.push_back(bytes_of(part));
    FATHOM_CHECKED(checked(0, send_frame(peers_[0], kind, pieces, deadline_in(patience()))));
    return receive(0, result_kind, std::as_writable_bytes(result));
  }

  std::string name_of(int process) const {
    const int first = process * group_.threads;
    if (group_.threads == 1) return "rank " + std::to_string(first);
    return "ranks " + std::to_string(first) + ".." + std::to_string(first + group_.threads - 1);
  }

  // Turns a failure of one connection into the end of the link.
  Status checked(int process, const Status& status) {
    if (status.ok()) return {};
    Error error = status.error();
    // The leader's word already names the rank; all else is about the peer itself.
    if (error.field != "rank") error.message = name_of(process) + ": " + error.message;
    error.code = Code::unavailable;
    error.field = "rank";
    if (leads()) tell_others(process, error.message);
    for (Socket& peer : peers_) peer.close();
    return error;
  }
  void tell_others(int except, const std::string& why) {
    const auto text = std::as_bytes(std::span(why));
    for (int p = 1; p < group_.processes; ++p)
      // Best effort: a peer that does not read this in time sees the connection end instead.
      if (p != except)
        (void)send_frame(peers_[static_cast<size_t>(p)], FrameKind::broken, {&text, 1},
                         deadline_in(Duration::ms(200)))
            .ok();
  }

  const TcpGroup group_;
  std::vector<Socket> peers_;
  std::vector<float> incoming_;
};

}  // namespace

std::unique_ptr<Link> make_tcp_link(const TcpGroup& group, std::vector<Socket> peers) {
  return std::make_unique<TcpLink>(group, std::move(peers));
}

}  // namespace fathom
