// Where does randomness come from? From a pure function of (key, counter): Philox-4x32-10 (Salmon
// et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11). The token at position p of a
// request with seed s draws from (s, p) alone, so it is the same in any batch, on any worker, after
// any move.
#pragma once

#include <array>
#include <cstdint>

namespace fathom {

constexpr std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter, uint64_t stream = 0) {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

// A number in [0, 1) with 53 random bits.
constexpr double philox_uniform(uint64_t key, uint64_t counter, uint64_t stream = 0) {
  const auto r = philox(key, counter, stream);
  const uint64_t bits = (uint64_t{r[0]} << 21) ^ (uint64_t{r[1]} >> 11);
  return static_cast<double>(bits & ((uint64_t{1} << 53) - 1)) * 0x1.0p-53;
}

// An independent seed for the `index`-th child (choice k of n) of a request with this seed.
constexpr uint64_t philox_seed(uint64_t seed, uint64_t index) {
  const auto r = philox(seed, index, 0x6368696c64);  // "child"
  return (uint64_t{r[1]} << 32) | r[0];
}

}  // namespace fathom
