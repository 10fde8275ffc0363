// Which token follows? A hash of every token before it and of the request's seed. A worker keeps
// the hash after each position as its "KV", so one wrong, missing or misplaced token or block
// changes all that follows.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace fathom::sim {

inline constexpr TokenId kVocab = 997;

constexpr uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ (v + 0x9E3779B97F4A7C15ull)) * 0xBF58476D1CE4E5B9ull;
  h ^= h >> 29;
  h *= 0x94D049BB133111EBull;
  return h ^ (h >> 32);
}

// The KV of one position, from the KV of the one before.
constexpr uint64_t kv_after(uint64_t before, TokenId token) {
  return mix(before, static_cast<uint64_t>(token));
}
inline constexpr uint64_t kKvStart = 0x66617468;

constexpr TokenId next_token(uint64_t kv, uint64_t seed) {
  return static_cast<TokenId>(mix(kv, seed) % static_cast<uint64_t>(kVocab));
}

// What scoring says about a prompt position.
constexpr float prompt_logprob(uint64_t kv) { return -static_cast<float>(kv % 1024) / 64.0f; }

// The KV after all of these.
inline uint64_t kv_of(const std::vector<TokenId>& tokens) {
  uint64_t kv = kKvStart;
  for (const TokenId token : tokens) kv = kv_after(kv, token);
  return kv;
}

}  // namespace fathom::sim
