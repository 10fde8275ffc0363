#include "model/mapped_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

namespace fathom {
namespace {

constexpr uintptr_t kPage = 4096;

struct PageRun {
  char* at = nullptr;
  size_t bytes = 0;
};

PageRun pages_of(std::span<const std::byte> part) {
  const uintptr_t before = reinterpret_cast<uintptr_t>(part.data()) % kPage;
  // madvise takes what it may not write as a plain pointer too.
  auto* begin = const_cast<char*>(reinterpret_cast<const char*>(part.data())) - before;
  return {begin, (before + part.size() + kPage - 1) / kPage * kPage};
}

// A mapping of the whole file at a multiple of kHugePage.
void* map_aligned(int fd, size_t bytes) {
  const size_t room = bytes + kHugePage;
  void* hole = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (hole == MAP_FAILED) return MAP_FAILED;
  char* first = static_cast<char*>(hole);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage;
  const size_t used = before + (bytes + kPage - 1) / kPage * kPage;
  if (before > 0) ::munmap(first, before);
  if (room > used) ::munmap(first + used, room - used);
  return ::mmap(first + before, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
}

// "7f12-7f34 r--p ..." of /proc/self/smaps; false for a line that is no mapping's first.
bool read_range(const std::string& line, uintptr_t& begin, uintptr_t& end) {
  const char* last = line.data() + line.size();
  const auto first = std::from_chars(line.data(), last, begin, 16);
  if (first.ec != std::errc() || first.ptr == last || *first.ptr != '-') return false;
  return std::from_chars(first.ptr + 1, last, end, 16).ec == std::errc();
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return Error{Code::not_found, std::string("can not open: ") + std::strerror(errno), path};
  struct stat info {};
  void* at = nullptr;
  int error = ::fstat(fd, &info) != 0 ? errno : S_ISREG(info.st_mode) ? 0 : EINVAL;
  const auto bytes = static_cast<size_t>(info.st_size);
  if (error == 0 && bytes > 0) {
    at = map_aligned(fd, bytes);
    if (at == MAP_FAILED) error = errno;
  }
  if (error != 0) {
    ::close(fd);
    return Error{Code::not_found, std::string("can not map: ") + std::strerror(error), path};
  }
  return MappedFile(path, fd, {static_cast<const std::byte*>(at), bytes});
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
}

void MappedFile::want_huge_pages(std::span<const std::byte> part) const {
  const PageRun run = pages_of(part);
  ::madvise(run.at, run.bytes, MADV_HUGEPAGE);  // a kernel without them says no, and that is all
}

Status MappedFile::read_in(std::span<const std::byte> part) const {
  if (part.empty()) return {};
  const PageRun run = pages_of(part);
  int error = 0;
  do {
    error = ::madvise(run.at, run.bytes, MADV_POPULATE_READ) == 0 ? 0 : errno;
  } while (error == EINTR || error == EAGAIN);
  if (error == EINVAL) {  // a kernel before 5.14
    for (size_t i = 0; i < run.bytes; i += kPage)
      static_cast<void>(*static_cast<const volatile char*>(run.at + i));
    return {};
  }
  if (error == 0) return {};
  return Error{Code::data_loss,
               "can not be read at byte " + std::to_string(part.data() - bytes_.data()) + ": " +
                   (error == EFAULT ? "the disk failed or the file was cut" : std::strerror(error)),
               path_};
}

void MappedFile::forget(std::span<const std::byte> part) const {
  const PageRun run = pages_of(part);
  ::madvise(run.at, run.bytes, MADV_DONTNEED);
  const auto offset = run.at - reinterpret_cast<const char*>(bytes_.data());
  ::posix_fadvise(fd_, offset, static_cast<off_t>(run.bytes), POSIX_FADV_DONTNEED);
}

uint64_t MappedFile::huge_bytes() const {
  const auto begin = reinterpret_cast<uintptr_t>(bytes_.data());
  std::ifstream maps("/proc/self/smaps");
  constexpr std::string_view kField = "FilePmdMapped:";
  uint64_t total = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t first = 0, last = 0;
    if (read_range(line, first, last)) ours = first < begin + bytes_.size() && last > begin;
    if (ours && line.starts_with(kField)) total += std::stoull(line.substr(kField.size())) * 1024;
  }
  return total;
}

void MappedFile::lock() const { static_cast<void>(::flock(fd_, LOCK_EX)); }
void MappedFile::unlock() const { static_cast<void>(::flock(fd_, LOCK_UN)); }

}  // namespace fathom
