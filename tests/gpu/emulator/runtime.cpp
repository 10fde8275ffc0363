// How does the emulated runtime answer about GPUs, memory and launches? Each function takes the
// machine's lock, checks what CUDA would refuse, and says the work to a stream. Streams, events and
// graphs have a file of their own.
#include <cuda.h>
#include <cuda_runtime.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "tests/gpu/emulator/runtime.h"

namespace emulated {

OfThread& of_thread() {
  thread_local OfThread mine;
  return mine;
}

Streams& streams() {
  static Streams all;
  return all;
}

Locked::Locked() : held_(machine().lock()) {
  if (!machine().schedule().once_in(4)) return;
  auto& open = streams().open;
  if (open.empty()) return;
  auto one = open.begin();
  std::advance(one, machine().schedule().below(static_cast<uint32_t>(open.size())));
  const auto stream = one->second;
  stream->do_one();
}

cudaError_t answer(cudaError_t error) {
  if (error != cudaSuccess) of_thread().last_error = error;
  return error;
}

std::shared_ptr<Stream> open_stream(cudaStream_t stream) {
  const auto found = streams().open.find(stream);
  return found == streams().open.end() ? nullptr : found->second;
}

bool not_now(cudaError_t* error) {
  if (of_thread().captures == 0) return false;
  for (auto& [raw, stream] : streams().open)
    if (stream->recording() != nullptr) stream->spoilt = true;
  *error = answer(cudaErrorStreamCaptureUnsupported);
  return true;
}

cudaError_t say(cudaStream_t raw, std::function<void()> act) {
  const auto stream = open_stream(raw);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  if (!stream->failure().empty()) return answer(cudaErrorLaunchFailure);
  stream->say([act = std::move(act)] { return Work{act, nullptr}; });
  return cudaSuccess;
}

namespace {

bool valid_end(const void* at, size_t bytes, bool on_device) {
  return !on_device || bytes == 0 || machine().holds(at, bytes);
}

}  // namespace

void give_others_a_turn() {
  std::vector<std::shared_ptr<Stream>> all;
  for (const auto& [raw, stream] : streams().open) all.push_back(stream);
  bool some = false;
  for (const auto& stream : all) some |= stream->do_one() == Stream::Did::some;
  machine().lock().unlock();
  // Where only the host's threads can help, they must get the lock.
  if (some)
    std::this_thread::yield();
  else
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  machine().lock().lock();
}

cudaError_t set_most_dynamic_shared(const void* kernel, int bytes) {
  const Locked locked;
  if (bytes < 0 || static_cast<uint32_t>(bytes) > kSharedLimit)
    return answer(cudaErrorInvalidValue);
  machine().most_dynamic_shared[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel,
                   std::function<void()> body) {
  const Locked locked;
  const auto stream = open_stream(config.stream);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  if (!stream->failure().empty()) return answer(cudaErrorLaunchFailure);
  if (stream->gpu() != of_thread().gpu) return answer(cudaErrorInvalidResourceHandle);
  Grid::Shape shape = {.grid = config.gridDim,
                       .block = config.blockDim,
                       .dynamic_shared = static_cast<uint32_t>(config.dynamicSmemBytes),
                       .gpu = stream->gpu()};
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttribute& a = config.attrs[i];
    if (a.id == cudaLaunchAttributeProgrammaticStreamSerialization)
      shape.starts_early = a.val.programmaticStreamSerializationAllowed != 0;
    if (a.id == cudaLaunchAttributeClusterDimension) {
      shape.cluster = a.val.clusterDim.x;
      if (a.val.clusterDim.y != 1 || a.val.clusterDim.z != 1 || shape.cluster == 0 ||
          shape.cluster > 8 || shape.grid.x % shape.cluster != 0)
        return answer(cudaErrorInvalidValue);
    }
  }
  const auto set = machine().most_dynamic_shared.find(kernel);
  const size_t most = set == machine().most_dynamic_shared.end() ? 48 * 1024 : set->second;
  const uint64_t threads = uint64_t{shape.block.x} * shape.block.y * shape.block.z;
  if (threads == 0 || threads > 1024 || shape.block.z > 64 || shape.grid.x == 0 ||
      shape.grid.y == 0 || shape.grid.z == 0 || shape.grid.x > 0x7FFFFFFFu ||
      shape.grid.y > 65535 || shape.grid.z > 65535 || config.dynamicSmemBytes > most)
    return answer(cudaErrorInvalidConfiguration);
  stream->say([shape, body = std::move(body)] {
    return Work{nullptr, std::make_shared<Grid>(shape, body)};
  });
  return cudaSuccess;
}

}  // namespace emulated

using emulated::answer;
using emulated::Locked;
using emulated::machine;
using emulated::not_now;

// ---- GPUs ----

cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine().config().gpus;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= machine().config().gpus) return answer(cudaErrorInvalidDevice);
  emulated::of_thread().gpu = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= machine().config().gpus) return answer(cudaErrorInvalidDevice);
  *value = attribute == cudaDevAttrMultiProcessorCount ? machine().config().multiprocessors : 9;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = device != peer;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  const Locked locked;
  if (peer == emulated::of_thread().gpu) return answer(cudaErrorInvalidDevice);
  return machine().peers.insert({emulated::of_thread().gpu, peer}).second
             ? cudaSuccess
             : answer(cudaErrorPeerAccessAlreadyEnabled);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  return std::exchange(emulated::of_thread().last_error, cudaSuccess);
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorLaunchFailure: {
      const Locked locked;
      return machine().last_fault().c_str();
    }
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    default:
      return "invalid argument";
  }
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

// ---- memory ----

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const Locked locked;
  cudaError_t error;
  if (not_now(&error)) return error;
  *memory = machine().allocate(emulated::of_thread().gpu, bytes);
  return *memory != nullptr ? cudaSuccess : answer(cudaErrorMemoryAllocation);
}

// Waits for the whole GPU, as the runtime does, and for those that reach its memory.
cudaError_t cudaFree(void* memory) {
  const Locked locked;
  cudaError_t error;
  if (not_now(&error)) return error;
  if (memory == nullptr) return cudaSuccess;
  const int gpu = emulated::of_thread().gpu;
  std::vector<std::shared_ptr<emulated::Stream>> users;
  for (const auto& [raw, stream] : emulated::streams().open)
    if (stream->gpu() == gpu || machine().peers.contains({stream->gpu(), gpu}))
      users.push_back(stream);
  for (const auto& stream : users) stream->finish();
  return machine().release(memory) ? cudaSuccess : answer(cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  const Locked locked;
  *memory = machine().pin(bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const Locked locked;
  return machine().unpin(memory) ? cudaSuccess : answer(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Locked locked;
  *total = machine().config().memory_bytes;
  *free = *total - machine().used(emulated::of_thread().gpu);
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t rows, cudaMemcpyKind kind, cudaStream_t stream) {
  const Locked locked;
  if (width == 0 || rows == 0) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if ((rows > 1 && (width > to_pitch || width > from_pitch)) ||
      !emulated::valid_end(to, (rows - 1) * to_pitch + width, to_device) ||
      !emulated::valid_end(from, (rows - 1) * from_pitch + width, from_device))
    return answer(cudaErrorInvalidValue);
  const auto copy = [=] {
    for (size_t r = 0; r < rows; ++r)
      std::memmove(static_cast<std::byte*>(to) + r * to_pitch,
                   static_cast<const std::byte*>(from) + r * from_pitch, width);
  };
  // Memory of the host that is not pinned has been read when the call returns.
  const cudaError_t error = emulated::say(stream, copy);
  if (error != cudaSuccess) return error;
  const void* host = !to_device ? to : !from_device ? from : nullptr;
  const auto opened = emulated::open_stream(stream);
  if (host != nullptr && !machine().is_pinned(host) && opened->recording() == nullptr)
    opened->finish();
  return opened->failure().empty() ? cudaSuccess : answer(cudaErrorLaunchFailure);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const Locked locked;
  if (!emulated::valid_end(to, bytes, true)) return answer(cudaErrorInvalidValue);
  return emulated::say(stream, [=] { std::memset(to, value, bytes); });
}
