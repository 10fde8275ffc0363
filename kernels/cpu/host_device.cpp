#include "kernels/cpu/host_device.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fathom {
namespace {

constexpr size_t kAlign = 256;

class HostDownload final : public Download {
 public:
  void begin(const void* from, size_t bytes) override {
    bytes_.resize(bytes);
    if (bytes > 0) std::memcpy(bytes_.data(), from, bytes);
  }
  Result<std::span<const std::byte>> finish() override {
    return std::span<const std::byte>(bytes_);
  }

 private:
  std::vector<std::byte> bytes_;
};

class HostDevice final : public Device {
 public:
  bool is_host() const override { return true; }
  void* allocate(size_t bytes) override {
    return std::aligned_alloc(kAlign, (std::max<size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign);
  }
  void release(void* memory) override { std::free(memory); }
  int64_t free_bytes() const override {
    return int64_t{::sysconf(_SC_AVPHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  }
  int64_t total_bytes() const override {
    return int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  }
  void upload(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memmove(to, from, bytes);
  }
  void copy_rows(void* to, size_t to_stride, const void* from, size_t from_stride, size_t width,
                 size_t rows) override {
    for (size_t r = 0; r < rows; ++r)
      copy(static_cast<std::byte*>(to) + r * to_stride,
           static_cast<const std::byte*>(from) + r * from_stride, width);
  }
  void fill_zero(void* to, size_t bytes) override { std::memset(to, 0, bytes); }
  Status download(void* to, const void* from, size_t bytes) override {
    return move(to, from, bytes);
  }
  std::unique_ptr<Download> make_download() override { return std::make_unique<HostDownload>(); }
  Status wait() override { return {}; }
  Status read(void* to, const void* from, size_t bytes) const override {
    return move(to, from, bytes);
  }
  Status write(void* to, const void* from, size_t bytes) const override {
    return move(to, from, bytes);
  }
  void replay(const ReplayKey&, const std::function<void()>& say) override { say(); }

 private:
  static Status move(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return {};
  }
};

}  // namespace

std::unique_ptr<Device> make_host_device() { return std::make_unique<HostDevice>(); }

}  // namespace fathom
