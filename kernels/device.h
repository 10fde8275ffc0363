// Where do weights, activations and KV live, and how does host code reach them? On a device: this
// machine's memory (cpu/host_device.h) or a GPU's (cuda/device.h). Operations run on one in the
// order they are said, and may still be running when they return; pointers in their parameters are
// the device's, unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"

namespace fathom {

// What a replayed piece of work was recorded for: its shape. Equal keys, equal work.
struct ReplayKey {
  int32_t what = 0;     // which piece
  int32_t rows = 0;     // of the batch, padded rows included
  int32_t context = 0;  // bound on positions
  auto operator<=>(const ReplayKey&) const = default;
};

// A copy to host memory that need not be waited for at once. One at a time; its device outlives it.
class Download {
 public:
  virtual ~Download() = default;
  // After the operations said before. Of no bytes it still marks that place in their order.
  virtual void begin(const void* from, size_t bytes) = 0;
  // Whether finish() would not wait.
  virtual bool done() const = 0;
  // Waits for the copy, and so for all operations said before it, but for none said later. The
  // bytes stay until the next begin. Errors as of Device::download. From any thread, as done().
  virtual Result<std::span<const std::byte>> finish() = 0;
};

// One rank's place to compute: memory and an order of work. Called by that rank's thread, but for
// read and write.
class Device {
 public:
  virtual ~Device() = default;
  // Whether host code may follow the pointers.
  virtual bool is_host() const = 0;

  // 256-byte aligned, uninitialised; null when there is not so much memory.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  // Memory left and all there is, in bytes.
  virtual int64_t free_bytes() const = 0;
  virtual int64_t total_bytes() const = 0;

  // After the operations said before; `from` is host memory and free again on return.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  // Both on the device.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  // `rows` pieces of `width` bytes, the first bytes of rows `to_stride` and `from_stride` apart.
  virtual void copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride,
                         size_t width, size_t rows) = 0;
  virtual void fill_zero(void* to, size_t bytes) = 0;
  // Waits for all operations said before, then copies to host memory. INTERNAL naming the operation
  // that failed first; a device that failed once fails for ever.
  virtual Status download(void* to, const void* from, size_t bytes) = 0;
  virtual std::unique_ptr<Download> make_download() = 0;
  virtual Status wait() = 0;

  // Callable from any thread, beside the operations: for memory no operation uses meanwhile.
  virtual Status read(void* to, const void* from, size_t bytes) const = 0;
  virtual Status write(void* to, const void* from, size_t bytes) const = 0;

  // Says the operations of `say`, or replays what they were when the key was last said. They may
  // depend on the key alone: the same pointers, the same sizes, no upload, no download. A host
  // device just says them.
  virtual void replay(const ReplayKey& key, const std::function<void()>& say) = 0;
};

}  // namespace fathom
