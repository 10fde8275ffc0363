#include "tests/gpu/emulator/faults/handovers.h"

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flash/paged.cuh"
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"

namespace emulated {
namespace {

namespace gemm = fathom::cuda::gemm;
namespace flash = fathom::cuda::flash;

// Values turn around in a block, twice: each round is read before the next is stored.
__global__ void block_barrier(float* x, int slip) {
  __shared__ float kept[64];
  for (int round = 0; round < 2; ++round) {
    kept[threadIdx.x] = x[threadIdx.x];
    if (slip != 1) __syncthreads();
    x[threadIdx.x] = kept[63 - threadIdx.x];
    if (slip != 2) __syncthreads();
  }
}

// Two bytes of each thread: neighbours in a word do not meet, lanes that swap do.
__global__ void warp_barrier(float* x, int slip) {
  __shared__ uint16_t kept[32];
  kept[threadIdx.x] = static_cast<uint16_t>(x[threadIdx.x]);
  if (slip == 0) __syncwarp();
  const uint16_t other = kept[threadIdx.x ^ 1];
  if (slip == 1) __shfl_xor_sync(~0u, int{other}, 1);  // holds lanes together, but orders nothing
  x[threadIdx.x] = other;
}

// One warp gives, another takes.
__global__ void numbered_barrier(float* x, int slip) {
  __shared__ float kept[32];
  const unsigned lane = threadIdx.x % 32;
  if (threadIdx.x < 32) {
    if (slip == 1) flash::pass<64>(1);
    kept[lane] = x[lane];
    if (slip != 1) flash::pass<64>(1);
  } else {
    if (slip != 2) flash::meet<64>(1);
    x[lane] = kept[31 - lane];
    if (slip == 2) flash::meet<64>(1);
  }
}

__global__ void counters(float* x, int slip) {
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  if (slip != 1) __syncthreads();
  atomicAdd(&count, 1);
  if (slip != 2) __syncthreads();
  x[threadIdx.x] = static_cast<float>(count);
}

// Two places in turn: a copy fills one, 32 threads read it and give it back.
__global__ void ring_of_copies(float* x, int slip) {
  __shared__ alignas(128) float kept[2][32];
  __shared__ uint64_t full[2];
  __shared__ uint64_t empty[2];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      gemm::barrier_init(gemm::shared_address(&full[i]), 1);
      gemm::barrier_init(gemm::shared_address(&empty[i]), 32);
    }
    gemm::barrier_init_done();
  }
  if (slip != 1) __syncthreads();
  if (threadIdx.x == 32) {
    for (int i = 0; i < 6; ++i) {
      const uint32_t filled = gemm::shared_address(&full[i % 2]);
      const int before = (i / 2 + 1) % 2;
      gemm::barrier_wait(slip != 2 ? gemm::shared_address(&empty[i % 2]) : filled, before);
      gemm::barrier_expect(filled, 128);
      gemm::copy_bytes(gemm::shared_address(kept[i % 2]), x + i % 2 * 32, 128, filled);
    }
  } else if (threadIdx.x < 32) {
    float sum = 0;
    for (int i = 0; i < 6; ++i) {
      if (slip != 3) gemm::barrier_wait(gemm::shared_address(&full[i % 2]), i / 2 % 2);
      if (slip == 4) gemm::barrier_arrive(gemm::shared_address(&empty[i % 2]));
      sum += kept[i % 2][31 - threadIdx.x];
      if (slip == 3) gemm::barrier_wait(gemm::shared_address(&full[i % 2]), i / 2 % 2);
      if (slip != 4) gemm::barrier_arrive(gemm::shared_address(&empty[i % 2]));
    }
    x[64 + threadIdx.x] = sum;
  }
}

__global__ void copies_of_threads(float* x, int slip) {
  __shared__ alignas(16) float kept[64];
  __shared__ uint64_t copied;
  if (threadIdx.x == 0) gemm::barrier_init(gemm::shared_address(&copied), 16);
  __syncthreads();
  flash::copy_chunk(gemm::shared_address(kept + threadIdx.x * 4), x + threadIdx.x * 4, true);
  flash::arrive_when_copied(gemm::shared_address(&copied));
  if (slip == 0) gemm::barrier_wait(gemm::shared_address(&copied), 0);
  if (slip == 1) asm volatile("cp.async.wait_all;" ::: "memory");  // for its own: not for others'
  x[64 + threadIdx.x] = kept[63 - threadIdx.x];
}

// 128 threads store both operands of a product, and over the second one behind it.
__global__ void tensor_cores(float* x, int slip) {
  __shared__ alignas(1024) uint32_t weights[64 * 32];
  __shared__ alignas(1024) uint32_t tokens[8 * 32];
  for (unsigned i = threadIdx.x; i < 64 * 32; i += 128) weights[i] = 0;
  for (unsigned i = threadIdx.x; i < 8 * 32; i += 128) tokens[i] = 0;
  if (slip != 1) gemm::show_to_copies();
  if (slip != 2) __syncthreads();
  float sums[4] = {};
  gemm::warpgroup_begin();
  gemm::Product<8>::ab(sums, gemm::rows_at(gemm::shared_address(weights)),
                       gemm::rows_at(gemm::shared_address(tokens)), false);
  gemm::warpgroup_commit();
  if (slip != 3) gemm::warpgroup_wait<0>();
  if (threadIdx.x == 5) tokens[0] = 7;  // the group was the whole warpgroup's: so was the wait
  if (slip == 3) gemm::warpgroup_wait<0>();
  x[threadIdx.x % 64] = sums[0];
}

// Each of two blocks stores into the other, as a load and store or with a barrier that counts.
__global__ void two_blocks(float* x, int slip) {
  __shared__ float kept[32];
  const auto cluster = cooperative_groups::this_cluster();
  cluster.sync();
  float* const other = cluster.map_shared_rank(kept, cluster.block_rank() ^ 1);
  other[threadIdx.x] = x[threadIdx.x];
  if (slip == 0) cluster.sync();
  if (slip == 1) __syncthreads();
  x[64 + cluster.block_rank() * 32 + threadIdx.x] = kept[threadIdx.x];
  cluster.sync();
}
__global__ void two_blocks_push(float* x, int slip) {
  __shared__ float kept[32];
  __shared__ uint64_t pushed;
  const uint32_t barrier = gemm::shared_address(&pushed);
  if (threadIdx.x == 0) {
    gemm::barrier_init(barrier, 1);
    gemm::barrier_init_done();
    gemm::barrier_expect(barrier, 128);
  }
  gemm::cluster_arrive();
  gemm::cluster_wait();
  const uint32_t other = gemm::cluster_rank() ^ 1;
  gemm::push(gemm::in_block(gemm::shared_address(kept + threadIdx.x), other), x[threadIdx.x],
             gemm::in_block(barrier, other));
  if (slip == 0) gemm::barrier_wait(barrier, 0);
  x[64 + gemm::cluster_rank() * 32 + threadIdx.x] = kept[threadIdx.x];
  gemm::barrier_wait(barrier, 0);
  gemm::cluster_arrive();
  gemm::cluster_wait();
}

// Two blocks without a cluster: each its own half of every word, and a number that both add to.
__global__ void blocks_apart(float* x, int slip) {
  __shared__ alignas(16) float kept[4];
  auto* const halves = reinterpret_cast<uint16_t*>(x);
  const unsigned mine = 2 * threadIdx.x + (slip != 1 ? blockIdx.x : 0);
  halves[mine] = 7;
  if (slip == 2) x[64 + blockIdx.x * 32 + threadIdx.x] = halves[mine ^ 1];
  auto* const both = reinterpret_cast<int*>(x + 127);
  atomicAdd(both, 1);
  if (slip == 3) x[64 + blockIdx.x * 16 + threadIdx.x % 16] = static_cast<float>(*both);
  if (slip == 4 && threadIdx.x == 0) flash::copy_chunk(gemm::shared_address(kept), x, true);
}

// A block each on two GPUs, which hand 64 numbers to each other by a word.
__global__ void two_gpus(float* mine, const float* theirs, uint32_t* heard, uint32_t* told,
                         int slip) {
  mine[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (slip != 1) __syncthreads();
  if (threadIdx.x == 40) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(told), "r"(1u) : "memory");
    while (true) {
      uint32_t came;
      asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(came) : "l"(heard) : "memory");
      if (came != 0) break;
      asm volatile("nanosleep.u32 20;");
    }
  }
  if (slip != 2) __syncthreads();
  mine[64 + threadIdx.x] = theirs[63 - threadIdx.x];
}

Outcome run_on_two(int slip) {
  cudaStream_t streams[2] = {};
  float* x[2] = {};
  uint32_t* words[2] = {};
  for (int gpu = 0; gpu < 2; ++gpu) {
    cudaSetDevice(gpu);
    cudaDeviceEnablePeerAccess(1 - gpu, 0);
    cudaStreamCreateWithFlags(&streams[gpu], cudaStreamNonBlocking);
    cudaMalloc(&x[gpu], sizeof(float) * 128);
    cudaMalloc(&words[gpu], sizeof(uint32_t));
    cudaMemsetAsync(words[gpu], 0, sizeof(uint32_t), streams[gpu]);
    cudaStreamSynchronize(streams[gpu]);
  }
  for (int gpu = 0; gpu < 2; ++gpu) {
    cudaSetDevice(gpu);
    two_gpus<<<1, 64, 0, streams[gpu]>>>(x[gpu], x[1 - gpu], words[gpu], words[1 - gpu], slip);
  }
  Outcome out;
  for (int gpu = 0; gpu < 2; ++gpu) {
    cudaSetDevice(gpu);
    const cudaError_t error = cudaStreamSynchronize(streams[gpu]);
    if (error != cudaSuccess) out.failure = cudaGetErrorString(error);
    cudaGetLastError();
  }
  for (int gpu = 0; gpu < 2; ++gpu) {
    cudaSetDevice(gpu);
    cudaStreamDestroy(streams[gpu]);
    cudaFree(x[gpu]);
    cudaFree(words[gpu]);
  }
  return out;
}

Outcome run(void (*kernel)(float*, int), int slip, unsigned threads, unsigned cluster = 1,
            unsigned clusters = 1) {
  cudaSetDevice(0);
  cudaStream_t stream = nullptr;
  float* x = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaMalloc(&x, sizeof(float) * 128);
  cudaMemsetAsync(x, 0, sizeof(float) * 128, stream);
  cudaLaunchAttribute blocks = {};
  blocks.id = cudaLaunchAttributeClusterDimension;
  blocks.val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = cluster * clusters;
  config.blockDim = threads;
  config.stream = stream;
  config.attrs = &blocks;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, x, slip);
  Outcome out;
  const cudaError_t error = cudaStreamSynchronize(stream);
  if (error != cudaSuccess) out.failure = cudaGetErrorString(error);
  cudaGetLastError();
  cudaStreamDestroy(stream);
  cudaFree(x);
  return out;
}

constexpr Handover kHandovers[] = {
    {"block_barrier", 2, [](int slip) { return run(block_barrier, slip, 64); }},
    {"warp_barrier", 1, [](int slip) { return run(warp_barrier, slip, 32); }},
    {"numbered_barrier", 2, [](int slip) { return run(numbered_barrier, slip, 64); }},
    {"counters", 2, [](int slip) { return run(counters, slip, 64); }},
    {"ring_of_copies", 4, [](int slip) { return run(ring_of_copies, slip, 64); }},
    {"copies_of_threads", 2, [](int slip) { return run(copies_of_threads, slip, 16); }},
    {"tensor_cores", 3, [](int slip) { return run(tensor_cores, slip, 128); }, 1},
    {"two_blocks", 1, [](int slip) { return run(two_blocks, slip, 32, 2); }},
    {"two_blocks_push", 1, [](int slip) { return run(two_blocks_push, slip, 32, 2); }},
    {"blocks_apart", 4, [](int slip) { return run(blocks_apart, slip, 32, 1, 2); }},
    {"two_gpus", 2, run_on_two},
};

}  // namespace

std::span<const Handover> handovers() { return kHandovers; }

}  // namespace emulated
