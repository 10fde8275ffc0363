// What does every CUDA operation stand on? One stream of one GPU, which remembers the first error,
// and one way to launch. Included by .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/device.h"
#include "kernels/ops.h"

namespace fathom::cuda {

class CudaDevice final : public Device {
 public:
  static Result<std::unique_ptr<Device>> make(const CudaDeviceConfig& config);
  ~CudaDevice() override;

  bool is_host() const override { return false; }
  void* allocate(size_t bytes) override;
  void release(void* memory) override;
  int64_t free_bytes() const override;
  int64_t total_bytes() const override;
  void upload(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride, size_t width,
                 size_t rows) override;
  void fill_zero(void* to, size_t bytes) override;
  Status download(void* to, const void* from, size_t bytes) override;
  std::unique_ptr<Download> make_download() override;
  Status wait() override;
  Status read(void* to, const void* from, size_t bytes) const override;
  Status write(void* to, const void* from, size_t bytes) const override;
  void replay(const ReplayKey& key, const std::function<void()>& say, const Agree& agree) override;

  cudaStream_t stream() const { return stream_; }
  int index() const { return config_.index; }
  int multiprocessors() const { return multiprocessors_; }
  bool overlaps_launches() const { return config_.overlap_launches; }
  // Remembers the first failure under the name of the operation; later ones are its echo.
  void check(cudaError_t error, const char* operation);
  bool failed() const { return first_error_.load(std::memory_order_acquire) != cudaSuccess; }
  Status status() const;
  void use() const;  // by this thread
  // Until the stream has come to `event`, or null: has done all that was said.
  void reach(cudaEvent_t event, const char* operation);
  // Asked before this device is waited for, by the thread that waits: returns when `done` does, or
  // when it has let nothing on this device wait for a peer any more.
  using Patience = std::function<void(const std::function<bool()>& done)>;
  void wait_by(Patience patience) { patience_ = std::move(patience); }

 private:
  explicit CudaDevice(const CudaDeviceConfig& config) : config_(config) {}
  void forget_recordings();

  CudaDeviceConfig config_;
  cudaStream_t stream_ = nullptr;
  mutable cudaStream_t transfer_ = nullptr;  // of read and write
  mutable std::mutex transfer_mutex_;
  int multiprocessors_ = 0;
  // Uploads pass through pinned memory: through one half of it, until that is full, then through
  // the other once the copies out of it are done.
  std::byte* staging_ = nullptr;
  int half_ = 0;
  size_t staged_ = 0;              // bytes of that half
  cudaEvent_t left_half_[2] = {};  // when the last copy out of it was said
  Patience patience_;              // null: nothing here waits for other processes
  std::mutex failure_mutex_;       // who waits for a download may be another thread
  std::atomic<cudaError_t> first_error_ = cudaSuccess;
  const char* failed_operation_ = "";
  struct Recording {
    cudaGraphExec_t graph = nullptr;
    int said = 0;
  };
  void record(Recording& recording, const std::function<void()>& say);
  std::map<ReplayKey, Recording> recordings_;
};

// Whether what was asked about is over, be it with an error; that it is not is no error, though
// runtimes may remember it as the last one.
inline bool is_over(cudaError_t answer) {
  if (answer != cudaErrorNotReady) return true;
  cudaGetLastError();
  return false;
}

inline CudaDevice& device_of(const OpContext& ctx) { return static_cast<CudaDevice&>(*ctx.device); }

struct Launch {
  dim3 grid, block;
  size_t shared = 0;  // dynamic, bytes
  int cluster = 1;    // thread blocks along x that share memory
};

// kernel<<<...>>>(args...) on the device's stream, errors remembered under `operation`. With
// overlap_launches the kernel may start before the one ahead has ended: every kernel therefore
// begins with wait_for_previous() (device.cuh) before it touches what another one writes or reads.
template <class... Params, class... Args>
void launch(CudaDevice& device, const char* operation, void (*kernel)(Params...), const Launch& at,
            Args&&... args) {
  if (at.grid.x == 0 || at.grid.y == 0 || at.grid.z == 0) return;
  if (at.shared > 48 * 1024)
    device.check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(at.shared)),
                 operation);
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (device.overlaps_launches()) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (at.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(at.cluster);
    attributes[count].val.clusterDim.y = 1;
    attributes[count++].val.clusterDim.z = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = at.grid;
  config.blockDim = at.block;
  config.dynamicSmemBytes = at.shared;
  config.stream = device.stream();
  config.attrs = attributes;
  config.numAttrs = count;
  device.check(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...), operation);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace fathom::cuda
