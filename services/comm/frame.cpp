// How is a frame checked? Mark, kind and length before a byte of it is believed.
#include "comm/frame.h"

namespace fathom {
namespace {

constexpr uint32_t kMark = 0x314D4346;  // "FCM1"
constexpr size_t kTextMax = 4096;

}  // namespace

Status send_frame(Socket& socket, FrameKind kind,
                  std::span<const std::span<const std::byte>> pieces, Deadline deadline) {
  FrameHead head{kMark, static_cast<uint32_t>(kind), 0};
  for (const auto piece : pieces) head.bytes += piece.size();
  FATHOM_CHECKED(socket.send(std::as_bytes(std::span(&head, 1)), deadline));
  for (const auto piece : pieces) FATHOM_CHECKED(socket.send(piece, deadline));
  return {};
}

Result<FrameHead> receive_head(Socket& socket, Deadline begin) {
  FrameHead head{};
  FATHOM_CHECKED(socket.receive(std::as_writable_bytes(std::span(&head, 1)), begin));
  if (head.mark != kMark)
    return Error{Code::internal, "the peer does not speak this protocol", "mark"};
  return head;
}

Status receive_frame(Socket& socket, FrameKind kind, std::span<std::byte> data, Deadline begin,
                     Duration rest) {
  FATHOM_TRY(const FrameHead head, receive_head(socket, begin));
  const Deadline end = deadline_in(rest);
  if (head.kind == static_cast<uint32_t>(FrameKind::broken)) {
    FATHOM_TRY(std::string why, receive_text(socket, head, kTextMax, end));
    return Error{Code::unavailable, std::move(why), "rank"};
  }
  if (head.kind != static_cast<uint32_t>(kind) || head.bytes != data.size())
    return Error{Code::internal,
                 "expected a frame of kind " + std::to_string(static_cast<uint32_t>(kind)) +
                     " with " + std::to_string(data.size()) + " bytes, got kind " +
                     std::to_string(head.kind) + " with " + std::to_string(head.bytes),
                 "frame"};
  return socket.receive(data, end);
}

Result<std::string> receive_text(Socket& socket, const FrameHead& head, size_t most,
                                 Deadline deadline) {
  if (head.bytes > most) return Error{Code::internal, "a frame is too long", "frame"};
  std::string text(head.bytes, '\0');
  FATHOM_CHECKED(socket.receive(std::as_writable_bytes(std::span(text)), deadline));
  return text;
}

}  // namespace fathom
