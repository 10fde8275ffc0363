// What can device code call? The built-in functions and variables of CUDA C++ that kernels use,
// said with the host's arithmetic and the emulator's meetings of threads.
#pragma once

#include <math.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/gpu/emulator/device.h"

#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __align__(n) alignas(n)

namespace emulated {

template <class T>
uint64_t word_of(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  return word;
}
template <class T>
T value_of(uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

// What lane `from` gave; a lane outside of the mask gives nothing that may be used.
template <class T>
T shuffled(uint32_t mask, const char* what, T value, uint32_t from, bool own) {
  const auto& slots = exchange(mask, what, word_of(value));
  if (own) return value;
  if ((mask >> from & 1) == 0) fault("a lane reads from one that the mask leaves out");
  return value_of<T>(slots[from]);
}

// fold(value, another lane's) over all lanes of the mask.
template <class T, class Fold>
T folded(uint32_t mask, const char* what, T value, Fold fold) {
  const auto& slots = exchange(mask, what, word_of(value));
  bool first = true;
  T all = value;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const T one = value_of<T>(slots[lane]);
    all = first ? one : fold(all, one);
    first = false;
  }
  return all;
}

}  // namespace emulated

// ---- barriers ----

inline void __syncthreads() { emulated::block_sync(0, 0); }
int __syncthreads_count(int predicate);
inline void __syncwarp(uint32_t mask = ~0u) { emulated::warp_sync(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- between lanes ----

template <class T>
T __shfl_sync(uint32_t mask, T value, int from, int width = 32) {
  const uint32_t lane = emulated::here->lane(), base = lane / width * width;
  return emulated::shuffled(mask, "__shfl_sync", value,
                            base + static_cast<uint32_t>(from) % static_cast<uint32_t>(width),
                            false);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32) {
  const uint32_t lane = emulated::here->lane(), from = lane ^ static_cast<uint32_t>(bits);
  const bool own = from / width > lane / width;
  return emulated::shuffled(mask, "__shfl_xor_sync", value, from % 32, own);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  const uint32_t lane = emulated::here->lane();
  const bool own = lane % width < by;
  return emulated::shuffled(mask, "__shfl_up_sync", value, (lane - by) % 32, own);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  const uint32_t lane = emulated::here->lane();
  const bool own = lane % width + by >= static_cast<unsigned>(width);
  return emulated::shuffled(mask, "__shfl_down_sync", value, (lane + by) % 32, own);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
  const auto& slots = emulated::exchange(mask, "__ballot_sync", predicate != 0);
  uint32_t votes = 0;
  for (uint32_t lane = 0; lane < 32; ++lane)
    if ((mask >> lane & 1) != 0 && slots[lane] != 0) votes |= 1u << lane;
  return votes;
}
inline int __any_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(uint32_t mask, int predicate) {
  return __ballot_sync(mask, predicate == 0) == 0;
}
template <class T>
T __reduce_add_sync(uint32_t mask, T v) {
  return emulated::folded(mask, "__reduce_add_sync", v, [](T a, T b) { return a + b; });
}
template <class T>
T __reduce_min_sync(uint32_t mask, T v) {
  return emulated::folded(mask, "__reduce_min_sync", v, [](T a, T b) { return std::min(a, b); });
}
template <class T>
T __reduce_max_sync(uint32_t mask, T v) {
  return emulated::folded(mask, "__reduce_max_sync", v, [](T a, T b) { return std::max(a, b); });
}

// ---- memory ----

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
inline uint64_t __cvta_generic_to_shared(const void* p) { return emulated::shared_address_of(p); }

namespace emulated {

// One thread runs at a time: a plain access is atomic. It is not to be taken for plain by who
// watches for races.
template <class T, class Change>
[[gnu::no_sanitize("thread")]] T exchanged(T* to, const Change& change) {
  touch_atomically(to, sizeof(T));
  const T before = *to;
  *to = static_cast<T>(change(before));
  return before;
}

}  // namespace emulated

template <class T>
T atomicAdd(T* to, std::type_identity_t<T> v) {
  return emulated::exchanged(to,
                             [&](T before) [[gnu::no_sanitize("thread")]] { return before + v; });
}
template <class T>
T atomicMin(T* to, std::type_identity_t<T> v) {
  return emulated::exchanged(
      to, [&](T before) [[gnu::no_sanitize("thread")]] { return std::min(before, v); });
}
template <class T>
T atomicMax(T* to, std::type_identity_t<T> v) {
  return emulated::exchanged(
      to, [&](T before) [[gnu::no_sanitize("thread")]] { return std::max(before, v); });
}
template <class T>
T atomicOr(T* to, std::type_identity_t<T> v) {
  return emulated::exchanged(to,
                             [&](T before) [[gnu::no_sanitize("thread")]] { return before | v; });
}
template <class T>
T atomicExch(T* to, std::type_identity_t<T> v) {
  return emulated::exchanged(to, [&](T) [[gnu::no_sanitize("thread")]] { return v; });
}
template <class T>
T atomicCAS(T* to, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return emulated::exchanged(
      to, [&](T before) [[gnu::no_sanitize("thread")]] { return before == expected ? v : before; });
}

// ---- arithmetic ----

template <class A, class B>
  requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
std::common_type_t<A, B> min(A a, B b) {
  if constexpr (std::is_floating_point_v<A>) return fmin(a, b);
  using C = std::common_type_t<A, B>;
  return static_cast<C>(b) < static_cast<C>(a) ? static_cast<C>(b) : static_cast<C>(a);
}
template <class A, class B>
  requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
std::common_type_t<A, B> max(A a, B b) {
  if constexpr (std::is_floating_point_v<A>) return fmax(a, b);
  using C = std::common_type_t<A, B>;
  return static_cast<C>(a) < static_cast<C>(b) ? static_cast<C>(b) : static_cast<C>(a);
}

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __uint_as_float(uint32_t v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int32_t v) { return std::bit_cast<float>(v); }
inline uint32_t __float_as_uint(float v) { return std::bit_cast<uint32_t>(v); }
inline int32_t __float_as_int(float v) { return std::bit_cast<int32_t>(v); }
inline int __double2hiint(double v) { return static_cast<int>(std::bit_cast<uint64_t>(v) >> 32); }
inline int __double2loint(double v) { return static_cast<int>(std::bit_cast<uint64_t>(v)); }
inline double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(uint64_t{static_cast<uint32_t>(high)} << 32 |
                               static_cast<uint32_t>(low));
}
inline int __popc(uint32_t v) { return std::popcount(v); }
inline int __popcll(uint64_t v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(static_cast<uint32_t>(v)); }
inline int __ffs(int v) { return v == 0 ? 0 : std::countr_zero(static_cast<uint32_t>(v)) + 1; }
// Conversions saturate; not-a-number becomes 0 of 32 bits and the highest bit of 64.
uint64_t __float2ull_rz(float v);
int __float2int_rn(float v);
uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector);
uint32_t __vmaxu2(uint32_t a, uint32_t b);
