// How is a group put together? Each follower says what it believes the group to be; the leader
// compares field by field and answers welcome or a refusal that names the first field in which they
// differ.
#include "comm/tcp.h"

#include <algorithm>

#include "base/check.h"
#include "comm/frame.h"
#include "comm/group.h"
#include "comm/tcp_link.h"

namespace fathom {
namespace {

constexpr uint32_t kVersion = 1;
constexpr size_t kTextMax = 4096;
// A connection that says nothing must not keep others waiting for long.
constexpr Duration kHelloTimeout = Duration::seconds(2);

struct Hello {
  uint32_t version, processes, threads, process;
};

Hello hello_of(const TcpGroup& g) {
  return {kVersion, static_cast<uint32_t>(g.processes), static_cast<uint32_t>(g.threads),
          static_cast<uint32_t>(g.process)};
}

Error differs(const std::string& field, const std::string& leader, const std::string& follower) {
  return {Code::failed_precondition, "the leader has " + leader + ", this process " + follower,
          field};
}
Error differs(const std::string& field, uint32_t leader, uint32_t follower) {
  return differs(field, std::to_string(leader), std::to_string(follower));
}

Status compare(const TcpGroup& group, const Hello& theirs, const std::string& digest,
               const std::vector<Socket>& peers) {
  const Hello mine = hello_of(group);
  if (theirs.version != mine.version) return differs("version", mine.version, theirs.version);
  if (theirs.processes != mine.processes)
    return differs("processes", mine.processes, theirs.processes);
  if (theirs.threads != mine.threads) return differs("threads", mine.threads, theirs.threads);
  if (digest != group.digest) return differs("digest", group.digest, digest);
  if (theirs.process == 0 || theirs.process >= mine.processes)
    return Error{Code::failed_precondition,
                 "process " + std::to_string(theirs.process) + " is not of this group", "process"};
  if (peers[theirs.process].open())
    return Error{Code::failed_precondition,
                 "process " + std::to_string(theirs.process) + " is there already", "process"};
  return {};
}

Status send_text(Socket& socket, FrameKind kind, const std::string& text, Deadline deadline) {
  const auto bytes = std::as_bytes(std::span(text));
  return send_frame(socket, kind, {&bytes, 1}, deadline);
}

// Hears one caller out; a fitting one takes its place among the peers.
Status admit(const TcpGroup& group, Socket caller, std::vector<Socket>& peers) {
  const Deadline deadline = deadline_in(kHelloTimeout);
  FATHOM_TRY(const FrameHead head, receive_head(caller, deadline));
  if (head.kind != static_cast<uint32_t>(FrameKind::hello) || head.bytes < sizeof(Hello))
    return Error{Code::failed_precondition, "a caller did not say hello", "frame"};
  FATHOM_TRY(const std::string text,
             receive_text(caller, head, sizeof(Hello) + kTextMax, deadline));
  Hello hello;
  std::copy_n(text.data(), sizeof hello, reinterpret_cast<char*>(&hello));
  if (const Status fits = compare(group, hello, text.substr(sizeof hello), peers); !fits.ok()) {
    const Error& e = fits.error();
    FATHOM_CHECKED(send_text(caller, FrameKind::refusal, e.field + "\n" + e.message, deadline));
    return e;
  }
  FATHOM_CHECKED(send_frame(caller, FrameKind::welcome, {}, deadline));
  peers[hello.process] = std::move(caller);
  return {};
}

GroupShape shape_of(const TcpGroup& g) {
  return {.threads = g.threads, .processes = g.processes, .process = g.process};
}

Error incomplete(const std::vector<Socket>& peers, const Error& last) {
  std::string missing;
  for (size_t p = 1; p < peers.size(); ++p)
    if (!peers[p].open()) missing += (missing.empty() ? "" : ", ") + std::to_string(p);
  const std::string hint = last.message.empty() ? "" : "; last refusal: " + last.text();
  return {Code::unavailable, "process " + missing + " did not join in time" + hint, last.field};
}

}  // namespace

Result<std::vector<std::unique_ptr<Comm>>> lead_tcp_group(const TcpGroup& group, Socket listener) {
  CHECK(group.process == 0 && group.processes >= 1 && group.threads >= 1);
  CHECK(group.digest.size() <= kTextMax);
  const Deadline deadline = deadline_in(group.join_timeout);
  std::vector<Socket> peers(static_cast<size_t>(group.processes));
  Error last;
  for (int joined = 1; joined < group.processes;) {
    auto caller = accept_from(listener, deadline);
    if (!caller.ok()) return incomplete(peers, last);
    if (const Status status = admit(group, std::move(*caller), peers); status.ok())
      ++joined;
    else
      last = status.error();
  }
  return make_group(shape_of(group), make_tcp_link(group, std::move(peers)));
}

Result<std::vector<std::unique_ptr<Comm>>> join_tcp_group(const TcpGroup& group,
                                                          const std::string& host, int port) {
  CHECK(group.process > 0 && group.process < group.processes && group.threads >= 1);
  CHECK(group.digest.size() <= kTextMax);
  const Deadline deadline = deadline_in(group.join_timeout);
  FATHOM_TRY(Socket leader, connect_to(host, port, deadline));
  const Hello hello = hello_of(group);
  const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(&hello, 1)),
                                               std::as_bytes(std::span(group.digest))};
  FATHOM_CHECKED(send_frame(leader, FrameKind::hello, pieces, deadline));
  FATHOM_TRY(const FrameHead head, receive_head(leader, deadline));
  FATHOM_TRY(const std::string text, receive_text(leader, head, kTextMax * 3, deadline));
  if (head.kind == static_cast<uint32_t>(FrameKind::refusal)) {
    const size_t cut = std::min(text.find('\n'), text.size());
    return Error{Code::failed_precondition, text.substr(std::min(cut + 1, text.size())),
                 text.substr(0, cut)};
  }
  if (head.kind != static_cast<uint32_t>(FrameKind::welcome))
    return Error{Code::internal, "the leader did not answer the hello", "frame"};
  std::vector<Socket> peers;
  peers.push_back(std::move(leader));
  return make_group(shape_of(group), make_tcp_link(group, std::move(peers)));
}

}  // namespace fathom
