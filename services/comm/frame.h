// What stands on the wire between the processes of a group? Frames: a head of 16 bytes (mark, kind,
// length) and the bytes. A frame of another kind or length than expected breaks the group: its
// ranks no longer run the same program. Numbers are little-endian, as every machine this runs on
// is.
#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "comm/socket.h"

namespace fathom {

static_assert(std::endian::native == std::endian::little);

enum class FrameKind : uint32_t {
  hello = 1,
  welcome,
  refusal,
  reduce,
  sum,
  gather,
  all,
  broadcast,
  broken
};

struct FrameHead {
  uint32_t mark;
  uint32_t kind;
  uint64_t bytes;
};

Status send_frame(Socket& socket, FrameKind kind,
                  std::span<const std::span<const std::byte>> pieces, Deadline deadline);

// The head of the next frame, waited for until `begin`.
Result<FrameHead> receive_head(Socket& socket, Deadline begin);

// A frame of this kind and length, into `data`: its head comes before `begin`, the bytes within
// `rest` of the head. A `broken` frame becomes its error.
Status receive_frame(Socket& socket, FrameKind kind, std::span<std::byte> data, Deadline begin,
                     Duration rest);

// A frame of text up to `most` bytes whose head was read already.
Result<std::string> receive_text(Socket& socket, const FrameHead& head, size_t most,
                                 Deadline deadline);

}  // namespace fathom
