#include "kernels/cpu/host_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fathom {
namespace {

constexpr size_t kAlign = 256;

// Memory of this size and more is the system's own and goes back to it at once. A heap would keep
// what a buffer left when it grew, and buffers grow several times while steps do.
constexpr size_t kOwnPages = size_t{1} << 18;

// What stands before a piece: how long it is where it has its own pages, else 0.
struct Piece {
  size_t mapped;
};
Piece* piece_of(void* memory) {
  return reinterpret_cast<Piece*>(static_cast<std::byte*>(memory) - kAlign);
}

class HostDownload final : public Download {
 public:
  void begin(const void* from, size_t bytes) override {
    bytes_.resize(bytes);
    if (bytes > 0) std::memcpy(bytes_.data(), from, bytes);
  }
  bool done() const override { return true; }
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
    const size_t size = (bytes + kAlign - 1) / kAlign * kAlign + kAlign;
    const bool own = size >= kOwnPages;
    void* piece =
        own ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            : std::aligned_alloc(kAlign, size);
    if (piece == nullptr || piece == MAP_FAILED) return nullptr;
    static_cast<Piece*>(piece)->mapped = own ? size : 0;
    return static_cast<std::byte*>(piece) + kAlign;
  }
  void release(void* memory) override {
    if (memory == nullptr) return;
    Piece* piece = piece_of(memory);
    if (piece->mapped > 0)
      ::munmap(piece, piece->mapped);
    else
      std::free(piece);
  }
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
