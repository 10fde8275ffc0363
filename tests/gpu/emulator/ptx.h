// What does each PTX instruction do? translate.py turns the text of an asm statement into a call of
// the function named after the instruction (dots and colons become underscores), with the operands
// in the text's order; an instruction that is not here does not compile. Barriers, copies and
// cluster memory are here and in ptx.cpp, tensor cores in tensor.cpp.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tests/gpu/emulator/device.h"
#include "tests/gpu/emulator/floats.h"

struct CUtensorMap;

namespace ptx {

using emulated::here;

// Operands by constraint.
template <class T>
uint32_t in_r(T v) {
  return static_cast<uint32_t>(v);
}
template <class T>
uint16_t in_h(T v) {
  return static_cast<uint16_t>(v);
}
template <class T>
uint64_t in_l(T v) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<uint64_t>(v);
  else
    return static_cast<uint64_t>(v);
}
inline float in_f(float v) { return v; }
inline int in_n(int v) { return v; }
template <class T, class... More>
std::array<T*, 1 + sizeof...(More)> list(T& first, More&... more) {
  return {&first, &more...};
}

inline uint32_t special_cluster_ctarank() { return here->where->rank; }
inline uint32_t special_laneid() { return here->lane(); }
uint64_t special_globaltimer();

// ---- arithmetic ----

template <class T>
void mov_u32(T& to, uint32_t from) {
  to = static_cast<T>(from);
}
inline void mov_u64(uint64_t& to, uint64_t from) { to = from; }
inline void mul_lo_u32(uint32_t& d, uint32_t a, uint32_t b) { d = a * b; }
inline void mad_lo_u32(uint32_t& d, uint32_t a, uint32_t b, uint32_t c) { d = a * b + c; }
inline void setp_ne_b32(bool& p, uint32_t a, uint32_t b) { p = a != b; }
inline void setp_eq_b32(bool& p, uint32_t a, uint32_t b) { p = a == b; }
inline void mul_rn_bf16x2(uint32_t& d, uint32_t a, uint32_t b) {
  const auto half = [&](int shift) {
    const float x = emulated::of_bf16(static_cast<uint16_t>(a >> shift));
    const float y = emulated::of_bf16(static_cast<uint16_t>(b >> shift));
    return uint32_t{emulated::to_bf16(x * y)} << shift;
  };
  d = half(0) | half(16);
}
inline void cvt_rn_bf16x2_f32(uint32_t& d, float high, float low) {
  d = uint32_t{emulated::to_bf16(high)} << 16 | emulated::to_bf16(low);
}
inline void cvt_rn_satfinite_e4m3x2_f32(uint16_t& d, float high, float low) {
  d = static_cast<uint16_t>(emulated::to_e4m3(high) << 8 | emulated::to_e4m3(low));
}
// Subnormals in and out are zeros. The GPU's is off by up to 2 units of the last place.
inline void ex2_approx_ftz_f32(float& y, float x) {
  y = std::exp2(x);
  if (std::fabs(y) < 0x1p-126f) y = 0;
}

// ---- kernels that start early ----

void griddepcontrol_wait();
void griddepcontrol_launch_dependents();

// ---- words that GPUs and the host share ----

inline void ld_relaxed_sys_global_u32(uint32_t& v, uint64_t from) {
  v = __atomic_load_n(reinterpret_cast<const uint32_t*>(from), __ATOMIC_RELAXED);
}
inline void ld_acquire_sys_global_u32(uint32_t& v, uint64_t from) {
  v = __atomic_load_n(reinterpret_cast<const uint32_t*>(from), __ATOMIC_ACQUIRE);
}
inline void st_relaxed_sys_global_u32(uint64_t to, uint32_t v) {
  __atomic_store_n(reinterpret_cast<uint32_t*>(to), v, __ATOMIC_RELAXED);
}
inline void st_release_sys_global_u32(uint64_t to, uint32_t v) {
  __atomic_store_n(reinterpret_cast<uint32_t*>(to), v, __ATOMIC_RELEASE);
}
// Other blocks and other GPUs go on meanwhile.
void nanosleep_u32(int nanoseconds);

// ---- barriers ----

void mbarrier_init_shared_cta_b64(uint32_t barrier, uint32_t count);
void mbarrier_arrive_shared_cluster_b64(uint32_t barrier);
inline void mbarrier_arrive_shared_cta_b64(uint32_t barrier) {
  mbarrier_arrive_shared_cluster_b64(barrier);
}
inline void mbarrier_arrive_release_cluster_shared_cluster_b64(uint32_t barrier) {
  mbarrier_arrive_shared_cluster_b64(barrier);
}
void mbarrier_arrive_expect_tx_shared_cta_b64(uint32_t barrier, uint32_t bytes);
void mbarrier_try_wait_parity_shared_cta_b64(bool& done, uint32_t barrier, uint32_t parity);
inline void fence_mbarrier_init_release_cluster() {}
inline void fence_proxy_async_shared_cta() { emulated::proxy_fence(); }
inline void bar_sync(uint32_t name, uint32_t count) { emulated::block_sync(name, count); }
inline void bar_arrive(uint32_t name, uint32_t count) { emulated::block_arrive(name, count); }
inline void barrier_cluster_arrive_release() { emulated::cluster_arrive(); }
inline void barrier_cluster_wait_acquire() { emulated::cluster_wait(); }
void setmaxnreg_inc_sync_aligned_u32(int registers);
inline void setmaxnreg_dec_sync_aligned_u32(int registers) {
  setmaxnreg_inc_sync_aligned_u32(registers);
}

// ---- shared memory ----

template <class T>
T& shared(uint32_t address, emulated::Access how) {
  if (address % sizeof(T) != 0) emulated::fault("a shared address that is not aligned");
  return *reinterpret_cast<T*>(emulated::touch_shared(address, sizeof(T), how));
}
template <class T>
void store(uint32_t to, T v) {
  shared<T>(to, emulated::Access::write) = v;
}
template <class T>
T load(uint32_t from) {
  return shared<T>(from, emulated::Access::read);
}
inline void mapa_shared_cluster_u32(uint32_t& to, uint32_t address, uint32_t rank) {
  to = (address & ((1u << emulated::kRankShift) - 1)) | (rank + 1) << emulated::kRankShift;
}
inline void st_shared_f32(uint32_t to, float v) { store(to, v); }
inline void st_shared_b32(uint32_t to, uint32_t v) { store(to, v); }
inline void st_shared_v4_b32(uint32_t to, const std::array<const uint32_t*, 4>& v) {
  store(to, uint4{*v[0], *v[1], *v[2], *v[3]});
}
inline void ld_shared_u16(uint16_t& v, uint32_t from) { v = load<uint16_t>(from); }
inline void ld_shared_v2_f32(const std::array<float*, 2>& v, uint32_t from) {
  if (from % 8 != 0) emulated::fault("a shared address that is not aligned");
  *v[0] = load<float>(from), *v[1] = load<float>(from + 4);
}
inline void ld_shared_v4_u32(const std::array<uint32_t*, 4>& v, uint32_t from) {
  const auto four = load<uint4>(from);
  *v[0] = four.x, *v[1] = four.y, *v[2] = four.z, *v[3] = four.w;
}
void st_async_shared_cluster_mbarrier_complete_tx_bytes_b32(uint32_t to, uint32_t v,
                                                            uint32_t barrier);

// ---- copies ----

using Place2 = std::array<const uint32_t*, 2>;
using Place3 = std::array<const uint32_t*, 3>;
void cp_async_bulk_tensor_2d_shared_cluster_global_tile_mbarrier_complete_tx_bytes(
    uint32_t to, uint64_t map, const Place2& place, uint32_t barrier);
void cp_async_bulk_tensor_2d_shared_cluster_global_tile_mbarrier_complete_tx_bytes_multicast_cluster(
    uint32_t to, uint64_t map, const Place2& place, uint32_t barrier, uint16_t blocks);
void cp_async_bulk_tensor_3d_shared_cluster_global_tile_mbarrier_complete_tx_bytes_L2_cache_hint(
    uint32_t to, uint64_t map, const Place3& place, uint32_t barrier, uint64_t policy);
void cp_async_bulk_shared_cluster_global_mbarrier_complete_tx_bytes(uint32_t to, uint64_t from,
                                                                    uint32_t bytes,
                                                                    uint32_t barrier);
void cp_async_bulk_tensor_2d_global_shared_cta_tile_bulk_group(uint64_t map, const Place2& place,
                                                               uint32_t from);
void cp_async_bulk_commit_group();
void cp_async_bulk_wait_group_read(int pending);
inline void cp_async_bulk_wait_group(int pending) { cp_async_bulk_wait_group_read(pending); }
void cp_async_cg_shared_global(uint32_t to, uint64_t from, int bytes, uint32_t given);
void cp_async_mbarrier_arrive_noinc_shared_cta_b64(uint32_t barrier);
void cp_async_wait_all();
inline void prefetch_tensormap(uint64_t) {}
inline void prefetch_global_L2(uint64_t) {}
inline void cp_async_bulk_prefetch_L2_global(uint64_t from, int bytes) {
  if (from % 16 != 0 || bytes % 16 != 0)
    emulated::fault("a bulk prefetch takes whole pieces of 16 bytes");
}
inline void createpolicy_fractional_L2_evict_first_b64(uint64_t& policy, double) { policy = 0; }
inline void createpolicy_fractional_L2_evict_normal_b64(uint64_t& policy, double) { policy = 0; }

// ---- tensor cores ----

using Words4 = std::array<const uint32_t*, 4>;
using Words2 = std::array<const uint32_t*, 2>;
void mma_sync_aligned_m16n8k16_row_col_f32_bf16_bf16_f32(const std::array<float*, 4>& d,
                                                         const Words4& a, const Words2& b,
                                                         const std::array<float*, 4>& c);
void ldmatrix_sync_aligned_m8n8_x4_shared_b16(const std::array<uint32_t*, 4>& m, uint32_t row);
void ldmatrix_sync_aligned_m8n8_x4_trans_shared_b16(const std::array<uint32_t*, 4>& m,
                                                    uint32_t row);

void wgmma_fence_sync_aligned();
void wgmma_commit_group_sync_aligned();
void wgmma_wait_group_sync_aligned(int pending);

struct WarpgroupProduct {
  int width;
  float* sums;
  const Words4* held;  // operand A in registers, or null
  uint64_t a, b;
  bool add, a_columns, b_columns;
  bool bytes = false;  // e4m3, 32 deep, instead of bf16, 16 deep
};
void warpgroup_product(const WarpgroupProduct& said);

template <size_t kSums>
float* array_of(const std::array<float*, kSums>& d) {
  for (size_t i = 0; i < kSums; ++i)
    if (d[i] != d[0] + i) emulated::fault("accumulators of wgmma that are not one array");
  return d[0];
}
template <int kWidth>
void wgmma_mma_async_sync_aligned_m64nNk16_f32_bf16_bf16(const std::array<float*, kWidth / 2>& d,
                                                         uint64_t a, uint64_t b, bool add, int, int,
                                                         int a_columns, int b_columns) {
  warpgroup_product({kWidth, array_of(d), nullptr, a, b, add, a_columns != 0, b_columns != 0});
}
template <int kWidth>
void wgmma_mma_async_sync_aligned_m64nNk16_f32_bf16_bf16(const std::array<float*, kWidth / 2>& d,
                                                         const Words4& a, uint64_t b, bool add, int,
                                                         int, int b_columns) {
  warpgroup_product({kWidth, array_of(d), &a, 0, b, add, false, b_columns != 0});
}
template <int kWidth>
void wgmma_mma_async_sync_aligned_m64nNk32_f32_e4m3_e4m3(const std::array<float*, kWidth / 2>& d,
                                                         uint64_t a, uint64_t b, bool add, int,
                                                         int) {
  warpgroup_product({kWidth, array_of(d), nullptr, a, b, add, false, false, true});
}

}  // namespace ptx
