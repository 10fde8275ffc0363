// Is every file either refused with a reason or a list of tensors that lie inside it, one after the
// other?
#include <cstdint>
#include <span>

#include "base/check.h"
#include "model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  const auto got =
      parse_safetensors(std::as_bytes(std::span(data, size)), size, "fuzz.safetensors");
  if (!got.ok()) {
    CHECK(!got.error().message.empty() && got.error().field == "fuzz.safetensors",
          "refused without a reason");
    return 0;
  }
  uint64_t sum = 0;
  for (const TensorEntry& e : *got) {
    uint64_t values = 1;
    for (const int64_t n : e.shape) values *= static_cast<uint64_t>(n);
    CHECK(e.begin <= e.end && e.end <= size, "a tensor outside the file");
    CHECK(values * static_cast<uint64_t>(stored_type_bytes(e.type)) == e.end - e.begin,
          "a shape that is not its bytes");
    sum += e.end - e.begin;
  }
  CHECK(sum <= size - 8, "tensors that overlap");
  return 0;
}
