#include "cli/new_key.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

namespace fathom {
namespace {

constexpr double kDaysMax = 36525;  // a century

Error file_error(const std::string& file) {
  return {Code::failed_precondition, std::string("can not be written: ") + std::strerror(errno),
          file};
}

// An open file, locked against others of this program.
class LockedFile {
 public:
  explicit LockedFile(const std::string& path)
      : fd_(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  ~LockedFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  LockedFile(const LockedFile&) = delete;
  LockedFile& operator=(const LockedFile&) = delete;
  bool is_open() const { return fd_ >= 0; }
  // In one call, so that no reader sees half a line of a file that grows.
  bool append(const std::string& text) {
    return ::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

 private:
  const int fd_;
};

}  // namespace

Result<NewKey> make_key(const KeyWish& wish, std::span<const uint8_t, 32> random,
                        int64_t unix_seconds) {
  if (!(wish.days >= 0 && wish.days <= kDaysMax)) return invalid("must be 0 to 36525", "--days");
  NewKey out{.text = key_text(random), .entry = {}};
  out.entry = {.name = wish.name,
               .sha256 = digest_of(out.text),
               .tenant = wish.tenant.empty() ? wish.name : wish.tenant,
               .is_operator = wish.is_operator};
  if (wish.days > 0) out.entry.expires = unix_seconds + std::llround(wish.days * 86400);
  for (const auto& [option, text] :
       {std::pair{"NAME", &out.entry.name}, {"--tenant", &out.entry.tenant}})
    if (!is_key_name(*text))
      return invalid("must be 1 to 64 letters, digits, '-', '_' or '.'", option);
  return out;
}

Status append_key(const std::string& file, const ApiKey& entry) {
  std::error_code code;
  if (std::filesystem::exists(file, code) && !std::filesystem::is_regular_file(file, code))
    return invalid("is not a regular file", file);
  LockedFile out(file);
  if (!out.is_open()) return file_error(file);
  FATHOM_TRY(const std::string before, read_keys_file(file));
  std::string line = key_line(entry) + "\n";
  if (!before.empty() && !before.ends_with('\n')) line.insert(0, "\n");
  FATHOM_CHECKED(KeyRing::parse(before, file));
  FATHOM_CHECKED(KeyRing::parse(before + line, file));
  return out.append(line) ? Status() : Status(file_error(file));
}

}  // namespace fathom
