#include "model/digest.h"

#include <xxhash.h>

#include <array>
#include <memory>

#include "base/check.h"

namespace fathom {
namespace {

constexpr size_t kSample = 64;

class Hash {
 public:
  Hash() : state_(XXH3_createState(), XXH3_freeState) {
    CHECK(state_ != nullptr);
    XXH3_128bits_reset(state_.get());
  }
  void add(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  void add(uint64_t value) {
    std::array<std::byte, 8> bytes;
    for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
    add(bytes);
  }
  void add(std::string_view text) {  // with its length, so that neighbours can not run together
    add(text.size());
    add(std::as_bytes(std::span(text)));
  }
  std::string hex() const {
    const XXH128_hash_t h = XXH3_128bits_digest(state_.get());
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (const uint64_t half : {h.high64, h.low64})
      for (int shift = 60; shift >= 0; shift -= 4) out += kDigits[(half >> shift) & 15];
    return out;
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

}  // namespace

std::string model_digest(std::string_view config_json, const Checkpoint& checkpoint) {
  Hash hash;
  hash.add(config_json);
  for (const auto& tensor : checkpoint.tensors()) {
    hash.add(tensor.name);
    hash.add(stored_type_name(tensor.type));
    hash.add(tensor.shape.size());
    for (const int64_t n : tensor.shape) hash.add(static_cast<uint64_t>(n));
    const auto bytes = tensor.bytes;
    const size_t n = std::min(kSample, bytes.size());
    hash.add(bytes.first(n));
    hash.add(bytes.subspan((bytes.size() - n) / 2, n));
    hash.add(bytes.last(n));
  }
  return hash.hex();
}

}  // namespace fathom
