#include "cli/run_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

namespace fathom {
namespace {

constexpr const char* kLock = "/lock";

Error folder_error(const std::string& what, const std::string& path) {
  return {Code::failed_precondition, what, path};
}

// A record lock belongs to the process that took it; a child that inherits the descriptor has none.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<RunDir> RunDir::take(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code) return folder_error("can not be made: " + code.message(), path);
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0 || !S_ISDIR(about.st_mode) || about.st_uid != ::getuid())
    return folder_error("belongs to somebody else; choose another with --run-dir", path);
  ::chmod(path.c_str(), 0700);

  const int fd = ::open((path + kLock).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return folder_error(std::string("can not be written: ") + std::strerror(errno), path);
  struct flock lock = whole_file();
  if (::fcntl(fd, F_SETLK, &lock) != 0) {
    ::close(fd);
    const auto other = owner(path);
    return folder_error("a cluster runs there already" +
                            (other ? " (process " + std::to_string(*other) + ")" : std::string()),
                        path);
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, code))
    if (entry.path().extension() == ".log" || entry.path().extension() == ".yaml")
      std::filesystem::remove(entry.path(), code);
  return RunDir(path, fd);
}

RunDir::RunDir(RunDir&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

RunDir::~RunDir() {
  if (lock_ >= 0) ::close(lock_);
}

Status RunDir::write(const std::string& name, const std::string& text) const {
  std::ofstream out(file(name));
  if (!(out << text) || !out.flush()) return folder_error("can not be written", file(name));
  return {};
}

std::optional<pid_t> RunDir::owner(const std::string& path) {
  const int fd = ::open((path + kLock).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  struct flock lock = whole_file();
  const bool asked = ::fcntl(fd, F_GETLK, &lock) == 0;
  ::close(fd);
  if (!asked || lock.l_type == F_UNLCK) return std::nullopt;
  return lock.l_pid;
}

}  // namespace fathom
