// How do the GPUs of a group sum without their hosts? One kernel a collective: every block copies
// its share of the rank's part into a buffer that all ranks know, tells the block of its number on
// every other GPU, waits for those, and reads their shares. Nothing but device memory is asked, so
// such a collective can be recorded and replayed: what counts the meetings lies there too.
//
// A buffer is written again two collectives later. By then this rank has met all others in the one
// between, which each of them began when its reads of the first were done.
//
// All blocks of a kernel must run at once, and on GPUs of their own: there are fewer of them than
// multiprocessors, and nothing else runs beside. A peer that never comes is not waited for for
// ever: the host or a clock stops the group by a word that every waiting thread watches.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rank_sum.cuh"

namespace fathom::cuda {

constexpr int kPeerBlocks = 32, kPeerThreads = 512;
constexpr int64_t kThrough = int64_t{2} << 20;  // floats of a buffer; longer ones go piece by piece

// In the memory of each rank; zeros at first.
struct PeerWords {
  uint32_t arrived[kPeerBlocks][kMaxRanks];  // the last meeting to which that rank's block came
  struct {
    uint32_t meetings, collectives;  // that this rank's block has behind it
  } passed[kPeerBlocks];
};

enum class PeerWork : int { sum, sum_sliced, rows };

struct PeerStep {
  PeerWork work = PeerWork::sum;
  const float* part = nullptr;  // [count]
  float* out = nullptr;         // [count], of rows [last - first, out_stride]
  int64_t count = 0, out_stride = 0;
  int first = 0, last = 0;  // of rows: the ranks whose parts are wanted, on all ranks the same
  int rank = 0, ranks = 0;
  float* through[2][kMaxRanks] = {};
  PeerWords* words[kMaxRanks] = {};
  uint32_t* stop = nullptr;  // pinned: 1 + the rank that is missing, 0 while all is well
  uint64_t patience_ns = 0;
};

__device__ __forceinline__ uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

// Until the word at `at` has come to `meeting`; false where the group is stopped.
__device__ __forceinline__ bool await_peer(const PeerStep& s, const uint32_t* at, uint32_t meeting,
                                           int peer) {
  constexpr uint32_t kLooks = 64;  // between two at the stop, which lies beyond the bus
  const uint64_t began = nanoseconds();
  for (uint32_t looked = 1;; ++looked) {
    uint32_t arrived;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(arrived) : "l"(at) : "memory");
    if (static_cast<int32_t>(arrived - meeting) >= 0) return true;
    if (looked % kLooks == 0) {
      uint32_t stopped;
      asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(stopped) : "l"(s.stop) : "memory");
      if (stopped != 0) return false;
      if (nanoseconds() - began > s.patience_ns) {
        const auto missing = static_cast<uint32_t>(peer) + 1;
        asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(s.stop), "r"(missing) : "memory");
        return false;
      }
    }
    asm volatile("nanosleep.u32 20;");
  }
}

// All blocks of this number have come, and what they wrote is seen. By the whole block.
__device__ __forceinline__ bool meet_peers(const PeerStep& s, uint32_t meeting) {
  __syncthreads();
  const int peer = static_cast<int>(threadIdx.x);
  const unsigned block = blockIdx.x;
  bool came = true;
  if (peer < s.ranks && peer != s.rank) {
    asm volatile(
        "st.release.sys.global.u32 [%0], %1;" ::"l"(&s.words[peer]->arrived[block][s.rank]),
        "r"(meeting)
        : "memory");
    came = await_peer(s, &s.words[s.rank]->arrived[block][peer], meeting, peer);
  }
  return __syncthreads_count(came ? 0 : 1) == 0;
}

// What block `blockIdx.x` does of `count` elements; whole quads but at the end.
struct PeerShare {
  int64_t begin, end;
};
__device__ __forceinline__ PeerShare share_of(int64_t count) {
  const int64_t each = ((count + gridDim.x - 1) / gridDim.x + 3) / 4 * 4;
  const int64_t begin = min(int64_t{blockIdx.x} * each, count);
  return {begin, min(begin + each, count)};
}

template <bool wide>
__device__ __forceinline__ void copy_share(float* to, const float* from, const PeerShare& share) {
  int64_t i = share.begin + (wide ? 4 : 1) * int64_t{threadIdx.x};
  if constexpr (wide)
    for (; i + 4 <= share.end; i += 4 * int64_t{blockDim.x})
      *reinterpret_cast<float4*>(to + i) = *reinterpret_cast<const float4*>(from + i);
  // Of the last quad a thread is left with at most three.
  if constexpr (wide) {
    for (; i < share.end; ++i) to[i] = from[i];
  } else {
    for (; i < share.end; i += int64_t{blockDim.x}) to[i] = from[i];
  }
}

// In rank order, as rank_sum_kernel does.
template <bool wide>
__device__ __forceinline__ void sum_share(float* to, float* const* parts, int64_t from, int ranks,
                                          const PeerShare& share) {
  const auto one = [&](int64_t i) {
    float sum = parts[0][from + i];
    for (int r = 1; r < ranks; ++r) sum += parts[r][from + i];
    to[i] = sum;
  };
  int64_t i = share.begin + (wide ? 4 : 1) * int64_t{threadIdx.x};
  if constexpr (wide) {
    for (; i + 4 <= share.end; i += 4 * int64_t{blockDim.x}) {
      float4 sum = *reinterpret_cast<const float4*>(parts[0] + from + i);
      for (int r = 1; r < ranks; ++r) {
        const float4 x = *reinterpret_cast<const float4*>(parts[r] + from + i);
        sum.x += x.x;
        sum.y += x.y;
        sum.z += x.z;
        sum.w += x.w;
      }
      *reinterpret_cast<float4*>(to + i) = sum;
    }
    for (; i < share.end; ++i) one(i);
  } else {
    for (; i < share.end; i += int64_t{blockDim.x}) one(i);
  }
}

// One element a thread, or four where `wide`: part, out and its rows are 16-byte aligned.
template <bool wide>
static __global__ void __launch_bounds__(kPeerThreads)
    peer_kernel(const __grid_constant__ PeerStep s) {
  wait_for_previous();
  auto& passed = s.words[s.rank]->passed[blockIdx.x];
  uint32_t meetings = passed.meetings;
  const uint32_t collectives = passed.collectives;
  float* const* through = s.through[collectives % 2];
  float* const mine = through[s.rank];
  const bool sliced = s.work == PeerWork::sum_sliced;
  const int64_t slice = sliced ? ((s.count + s.ranks - 1) / s.ranks + 3) / 4 * 4 : s.count;
  const auto length = [&](int r) { return max(min(s.count - r * slice, slice), int64_t{0}); };
  if (s.work != PeerWork::rows || (s.first <= s.rank && s.rank < s.last))
    for (int r = 0; r < (sliced ? s.ranks : 1); ++r)
      copy_share<wide>(mine + r * slice, s.part + r * slice, share_of(length(r)));
  if (!meet_peers(s, ++meetings)) return;
  if (sliced) {
    const int64_t own = s.rank * slice;
    sum_share<wide>(mine + own, through, own, s.ranks, share_of(length(s.rank)));
    if (!meet_peers(s, ++meetings)) return;
    for (int r = 0; r < s.ranks; ++r)
      copy_share<wide>(s.out + r * slice, through[r] + r * slice, share_of(length(r)));
  } else if (s.work == PeerWork::sum) {
    sum_share<wide>(s.out, through, 0, s.ranks, share_of(s.count));
  } else {
    for (int r = s.first; r < s.last; ++r)
      copy_share<wide>(s.out + (r - s.first) * s.out_stride, through[r], share_of(s.count));
  }
  if (threadIdx.x != 0) return;
  passed.meetings = meetings;
  passed.collectives = collectives + 1;
}

inline void launch_peer_step(CudaDevice& device, const PeerStep& s, int blocks, const char* what) {
  const auto places = reinterpret_cast<uintptr_t>(s.part) | reinterpret_cast<uintptr_t>(s.out) |
                      static_cast<uintptr_t>(s.out_stride) * sizeof(float);
  const auto grid = static_cast<unsigned>(blocks);
  if (places % 16 == 0)
    peer_kernel<true><<<grid, kPeerThreads, 0, device.stream()>>>(s);
  else
    peer_kernel<false><<<grid, kPeerThreads, 0, device.stream()>>>(s);
  device.check(cudaGetLastError(), what);
}

}  // namespace fathom::cuda
