// How does a file appear in memory? Mapped read-only and shared with every process that maps it, so
// that a prefill and a decode worker of one machine hold one copy. The mapping begins where a page
// of 2 MB could, so that a part of the file which the system caches in such pages is also mapped by
// them. Whoever wants that asks for it before the first read. A part that can not be read is an
// error here; reading it in place would end the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace fathom {

inline constexpr uint64_t kHugePage = uint64_t{2} << 20;

class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

  // Of a part of bytes(); rounded outwards to pages.
  void want_huge_pages(std::span<const std::byte> part) const;
  // Reads it from the disk and maps it; DATA_LOSS naming the file when that fails.
  Status read_in(std::span<const std::byte> part) const;
  // Takes it out of this mapping, and out of the system's cache where no other process maps it. It
  // is there again when it is next read.
  void forget(std::span<const std::byte> part) const;
  // How much is mapped by huge pages now.
  uint64_t huge_bytes() const;
  // Other processes that call this for the same file wait until unlock().
  void lock() const;
  void unlock() const;

 private:
  MappedFile(std::string path, int fd, std::span<const std::byte> bytes)
      : path_(std::move(path)), fd_(fd), bytes_(bytes) {}

  std::string path_;
  int fd_ = -1;
  std::span<const std::byte> bytes_;
};

}  // namespace fathom
