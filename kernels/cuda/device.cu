// How does one stream of one GPU behave as a Device? Memory by cudaMalloc, uploads through a pinned
// ring, recorded work as CUDA graphs, and one remembered error.
#include <algorithm>
#include <cstring>

#include "kernels/cuda/absence.h"
#include "kernels/cuda/runtime.h"

namespace fathom {
namespace cuda {
namespace {

constexpr size_t kHalf = size_t{16} << 20;  // of the pinned memory of uploads

Error failure(cudaError_t error, const char* operation) {
  return {Code::internal,
          std::string("the GPU failed in ") + operation + ": " + cudaGetErrorString(error),
          "device"};
}

// A copy to pinned memory with an event behind it.
class CudaDownload final : public Download {
 public:
  explicit CudaDownload(CudaDevice& device) : device_(device) {
    device.use();
    device.check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "start");
  }
  ~CudaDownload() override {
    device_.use();
    if (begun_) cudaEventSynchronize(done_);
    if (host_ != nullptr) cudaFreeHost(host_);
    if (done_ != nullptr) cudaEventDestroy(done_);
  }
  void begin(const void* from, size_t bytes) override {
    device_.use();
    reach(bytes);
    if (device_.failed()) return;
    bytes_ = bytes;
    if (bytes > 0)
      device_.check(cudaMemcpyAsync(host_, from, bytes, cudaMemcpyDeviceToHost, device_.stream()),
                    "download");
    device_.check(cudaEventRecord(done_, device_.stream()), "download");
    begun_ = true;
  }
  bool done() const override {
    device_.use();
    return !begun_ || is_over(cudaEventQuery(done_));
  }
  Result<std::span<const std::byte>> finish() override {
    device_.use();
    if (begun_) device_.reach(done_, "a step");
    device_.check(cudaGetLastError(), "a step");
    begun_ = false;
    FATHOM_CHECKED(device_.status());
    return std::span<const std::byte>(host_, bytes_);
  }

 private:
  void reach(size_t bytes) {
    if (bytes <= capacity_) return;
    if (host_ != nullptr) device_.check(cudaFreeHost(host_), "download");
    capacity_ = std::max(bytes, 2 * capacity_);
    void* host = nullptr;
    device_.check(cudaMallocHost(&host, capacity_), "download");
    host_ = static_cast<std::byte*>(host);
  }

  CudaDevice& device_;
  cudaEvent_t done_ = nullptr;
  std::byte* host_ = nullptr;
  size_t capacity_ = 0, bytes_ = 0;
  bool begun_ = false;
};

}  // namespace

Result<std::unique_ptr<Device>> CudaDevice::make(const CudaDeviceConfig& config) {
  if (config.index < 0 || config.index >= cuda_device_count())
    return Error{Code::failed_precondition,
                 cuda_device_count() == 0 ? cuda_absence()
                                          : "there is no GPU " + std::to_string(config.index),
                 "device"};
  std::unique_ptr<CudaDevice> d(new CudaDevice(config));
  d->use();
  d->check(
      cudaDeviceGetAttribute(&d->multiprocessors_, cudaDevAttrMultiProcessorCount, config.index),
      "start");
  d->check(cudaStreamCreateWithFlags(&d->stream_, cudaStreamNonBlocking), "start");
  d->check(cudaStreamCreateWithFlags(&d->transfer_, cudaStreamNonBlocking), "start");
  void* staging = nullptr;
  d->check(cudaMallocHost(&staging, 2 * kHalf), "start");
  d->staging_ = static_cast<std::byte*>(staging);
  for (cudaEvent_t& left : d->left_half_)
    d->check(cudaEventCreateWithFlags(&left, cudaEventDisableTiming), "start");
  FATHOM_CHECKED(d->status());
  return std::unique_ptr<Device>(std::move(d));
}

CudaDevice::~CudaDevice() {
  use();
  cudaStreamSynchronize(stream_);
  forget_recordings();
  if (staging_ != nullptr) cudaFreeHost(staging_);
  for (cudaEvent_t left : left_half_)
    if (left != nullptr) cudaEventDestroy(left);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  if (transfer_ != nullptr) cudaStreamDestroy(transfer_);
}

void CudaDevice::use() const { cudaSetDevice(config_.index); }

void CudaDevice::check(cudaError_t error, const char* operation) {
  if (error == cudaSuccess) return;
  const std::scoped_lock lock(failure_mutex_);
  if (failed()) return;
  failed_operation_ = operation;
  first_error_.store(error, std::memory_order_release);
}

void CudaDevice::reach(cudaEvent_t event, const char* operation) {
  if (patience_)
    patience_([&] {
      return is_over(event != nullptr ? cudaEventQuery(event) : cudaStreamQuery(stream_));
    });
  check(event != nullptr ? cudaEventSynchronize(event) : cudaStreamSynchronize(stream_), operation);
}

// What was recorded holds old pointers.
void CudaDevice::forget_recordings() {
  for (auto& [key, recording] : recordings_)
    if (recording.graph != nullptr) cudaGraphExecDestroy(recording.graph);
  recordings_.clear();
}

void* CudaDevice::allocate(size_t bytes) {
  use();
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max<size_t>(bytes, 256)) != cudaSuccess) {
    cudaGetLastError();  // out of memory is an answer, not a broken device
    return nullptr;
  }
  return memory;
}

void CudaDevice::release(void* memory) {
  if (memory == nullptr) return;
  use();
  reach(nullptr, "release");
  forget_recordings();
  check(cudaFree(memory), "release");
}

int64_t CudaDevice::free_bytes() const {
  use();
  size_t free = 0, total = 0;
  return cudaMemGetInfo(&free, &total) == cudaSuccess ? static_cast<int64_t>(free) : 0;
}

int64_t CudaDevice::total_bytes() const {
  use();
  size_t free = 0, total = 0;
  return cudaMemGetInfo(&free, &total) == cudaSuccess ? static_cast<int64_t>(total) : 0;
}

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  use();
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  while (bytes > 0) {
    if (staged_ == kHalf) {
      check(cudaEventRecord(left_half_[half_], stream_), "upload");
      half_ = 1 - half_;
      reach(left_half_[half_], "upload");
      staged_ = 0;
    }
    const size_t piece = std::min(bytes, kHalf - staged_);
    std::byte* const through = staging_ + static_cast<size_t>(half_) * kHalf + staged_;
    std::memcpy(through, source, piece);
    check(cudaMemcpyAsync(target, through, piece, cudaMemcpyHostToDevice, stream_), "upload");
    staged_ = std::min(kHalf, (staged_ + piece + 255) / 256 * 256);
    source += piece;
    target += piece;
    bytes -= piece;
  }
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  use();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copy");
}

void CudaDevice::copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride,
                           size_t width, size_t rows) {
  use();
  check(cudaMemcpy2DAsync(to, to_stride, from, from_stride, width, rows, cudaMemcpyDeviceToDevice,
                          stream_),
        "copy_rows");
}

void CudaDevice::fill_zero(void* to, size_t bytes) {
  use();
  check(cudaMemsetAsync(to, 0, bytes, stream_), "fill_zero");
}

Status CudaDevice::download(void* to, const void* from, size_t bytes) {
  use();
  reach(nullptr, "download");  // the copy itself waits, for memory that is not pinned
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
  return wait();
}

std::unique_ptr<Download> CudaDevice::make_download() {
  return std::make_unique<CudaDownload>(*this);
}

Status CudaDevice::status() const {
  if (failed()) return failure(first_error_.load(), failed_operation_);
  return {};
}

Status CudaDevice::wait() {
  use();
  reach(nullptr, "a step");
  check(cudaGetLastError(), "a step");
  staged_ = 0;
  return status();
}

Status CudaDevice::read(void* to, const void* from, size_t bytes) const {
  const std::scoped_lock lock(transfer_mutex_);
  use();
  cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, transfer_);
  if (error == cudaSuccess) error = cudaStreamSynchronize(transfer_);
  if (error != cudaSuccess) return failure(error, "read");
  return {};
}

Status CudaDevice::write(void* to, const void* from, size_t bytes) const {
  const std::scoped_lock lock(transfer_mutex_);
  use();
  cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, transfer_);
  if (error == cudaSuccess) error = cudaStreamSynchronize(transfer_);
  if (error != cudaSuccess) return failure(error, "write");
  return {};
}

void CudaDevice::record(Recording& recording, const std::function<void()>& say) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "record");
  say();
  check(cudaStreamEndCapture(stream_, &graph), "record");
  if (!failed()) check(cudaGraphInstantiate(&recording.graph, graph, 0), "record");
  if (graph != nullptr) cudaGraphDestroy(graph);
}

// Said once as it is, so that scratch grows to its size; recorded when said again. Devices that
// replay together go as far as the one that is least far.
void CudaDevice::replay(const ReplayKey& key, const std::function<void()>& say,
                        const Agree& agree) {
  constexpr int32_t kFails = -1, kSays = 0, kRecords = 1, kReplays = 2;
  use();
  if (failed() && !agree) return;
  Recording& recording = recordings_[key];
  int32_t turn = failed()                     ? kFails
                 : recording.graph != nullptr ? kReplays
                 : recording.said > 0         ? kRecords
                                              : kSays;
  if (agree) turn = agree(turn);
  if (turn == kFails) return;
  if (turn == kSays) {
    ++recording.said;
    return say();
  }
  if (recording.graph == nullptr) record(recording, say);
  if (agree && turn == kRecords && agree(failed() ? kFails : kReplays) == kFails) return;
  if (!failed()) check(cudaGraphLaunch(recording.graph, stream_), "replay");
}

}  // namespace cuda

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  // They are numbered so that those of capability 9.0 come first on every machine seen; one that is
  // not ends the count.
  for (int i = 0; i < count; ++i) {
    int major = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i) != cudaSuccess ||
        major != 9)
      return i;
  }
  return count;
}

std::string cuda_absence() {
  cuda::DriverFindings found;
  const cudaError_t error = cudaGetDeviceCount(&found.gpus);
  if (error != cudaSuccess) found.error = cudaGetErrorString(error);
  cudaDriverGetVersion(&found.driver_version);
  cudaRuntimeGetVersion(&found.runtime_version);
  cudaGetLastError();
  return cuda::absence_text(found);
}

Result<std::unique_ptr<Device>> make_cuda_device(const CudaDeviceConfig& config) {
  return cuda::CudaDevice::make(config);
}

}  // namespace fathom
