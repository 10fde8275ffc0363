#include "tests/gpu/emulator/faults/kernels.h"

#include <cuda_runtime.h>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flash/paged.cuh"
#include "kernels/cuda/gemm/ptx.cuh"

namespace emulated {
namespace {

using fathom::cuda::wait_for_previous;

__global__ void reverse_values(float* x, bool with_barrier) {
  __shared__ float kept[64];
  kept[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncthreads();
  x[threadIdx.x] = kept[63 - threadIdx.x];
}

__global__ void meet_half(float*) {
  if (threadIdx.x < 32) __syncthreads();
  if (threadIdx.x >= 32) fathom::cuda::flash::meet<64>(1);
}

__global__ void shuffle_differently(float* x) {
  if (threadIdx.x % 2 == 0)
    x[0] = __shfl_xor_sync(~0u, x[threadIdx.x], 1);
  else
    x[1] = __shfl_up_sync(~0u, x[threadIdx.x], 1);
}

__global__ void copy_and_read(float* x, bool with_wait) {
  __shared__ alignas(16) float kept[64];
  fathom::cuda::flash::copy_chunk(fathom::cuda::gemm::shared_address(kept + threadIdx.x * 4),
                                  x + threadIdx.x * 4, true);
  if (with_wait) asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  for (int i = 0; i < 4; ++i) x[64 + threadIdx.x * 4 + i] = kept[threadIdx.x * 4 + i];
}

__global__ void write_ones(float* x) {
  wait_for_previous();
  x[threadIdx.x] = 1;
}
__global__ void double_them(float* x, bool with_wait) {
  if (with_wait) wait_for_previous();
  x[64 + threadIdx.x] = 2 * x[threadIdx.x];
  if (!with_wait) wait_for_previous();
}

__global__ void wait_for_nothing(float*) {
  __shared__ uint64_t barrier;
  fathom::cuda::gemm::barrier_wait(fathom::cuda::gemm::shared_address(&barrier), 0);
}

__global__ void store_behind(float*) {
  extern __shared__ float room[];
  fathom::cuda::gemm::store_shared(fathom::cuda::gemm::shared_address(room) + 256, 1.0f);
}

// A stream of a GPU and 128 values of it, of which the first 64 count up.
struct Seat {
  explicit Seat(int gpu_index) : gpu(gpu_index) {
    cudaSetDevice(gpu);
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(&x, sizeof(float) * 128);
    float first[64];
    for (int i = 0; i < 64; ++i) first[i] = static_cast<float>(i);
    cudaMemcpyAsync(x, first, sizeof(first), cudaMemcpyHostToDevice, stream);
  }
  ~Seat() {
    cudaSetDevice(gpu);
    cudaStreamDestroy(stream);
    cudaFree(x);
  }
  Outcome outcome(int first) {
    Outcome out;
    out.values.resize(64);
    const cudaError_t error = cudaStreamSynchronize(stream);
    if (error != cudaSuccess) out.failure = cudaGetErrorString(error);
    if (error == cudaSuccess)
      cudaMemcpyAsync(out.values.data(), x + first, sizeof(float) * 64, cudaMemcpyDeviceToHost,
                      stream);
    cudaGetLastError();
    return out;
  }
  int gpu;
  cudaStream_t stream = nullptr;
  float* x = nullptr;
};

}  // namespace

Outcome reverse(bool with_barrier) {
  Seat seat(0);
  reverse_values<<<1, 64, 0, seat.stream>>>(seat.x, with_barrier);
  return seat.outcome(0);
}

Outcome meet_by_half() {
  Seat seat(0);
  meet_half<<<1, 64, 0, seat.stream>>>(seat.x);
  return seat.outcome(0);
}

Outcome shuffle_apart() {
  Seat seat(0);
  shuffle_differently<<<1, 32, 0, seat.stream>>>(seat.x);
  return seat.outcome(0);
}

Outcome read_copied(bool with_wait) {
  Seat seat(0);
  copy_and_read<<<1, 16, 0, seat.stream>>>(seat.x, with_wait);
  return seat.outcome(64);
}

Outcome double_after(bool with_wait) {
  Seat seat(0);
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = 1;
  config.blockDim = 64;
  config.stream = seat.stream;
  config.attrs = &early;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, write_ones, seat.x);
  cudaLaunchKernelEx(&config, double_them, seat.x, with_wait);
  return seat.outcome(64);
}

Outcome read_peer(bool with_event) {
  Seat writer(0), reader(1);
  cudaEvent_t written = nullptr;
  cudaEventCreateWithFlags(&written, cudaEventDisableTiming);
  cudaSetDevice(0);
  write_ones<<<1, 64, 0, writer.stream>>>(writer.x);
  cudaEventRecord(written, writer.stream);
  cudaSetDevice(1);
  if (with_event) cudaStreamWaitEvent(reader.stream, written, 0);
  cudaMemcpyAsync(reader.x, writer.x, sizeof(float) * 64, cudaMemcpyDeviceToDevice, reader.stream);
  Outcome out = reader.outcome(0);
  cudaEventDestroy(written);
  return out;
}

Outcome wait_uninitialised() {
  Seat seat(0);
  wait_for_nothing<<<1, 32, 0, seat.stream>>>(seat.x);
  return seat.outcome(0);
}

Outcome store_outside() {
  Seat seat(0);
  store_behind<<<1, 32, 256, seat.stream>>>(seat.x);
  return seat.outcome(0);
}

}  // namespace emulated
