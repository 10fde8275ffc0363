// Is every message of a leader either torn or a step whose parts lie inside it?
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "engine/group_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  StepBatch step;
  if (!decode_step(bytes, step).ok()) return 0;
  const auto inside = [&](const void* at, size_t count) {
    const auto* p = static_cast<const std::byte*>(at);
    return count == 0 || (p >= bytes.data() && p + count * 4 <= bytes.data() + size);
  };
  for (const auto& s : step.sequences)
    CHECK(inside(s.tokens.data(), s.tokens.size()) && inside(s.blocks.data(), s.blocks.size()),
          "a row outside");
  std::vector<std::byte> again;
  encode_step(step, again);
  CHECK(
      again.size() == size && (again.empty() || std::memcmp(again.data(), data, again.size()) == 0),
      "another step than was sent");
  return 0;
}
