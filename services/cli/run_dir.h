// Where does a cluster of `fathom up` keep its settings and logs, and who owns it? A folder that
// only its user can enter. The one process that holds its lock is the cluster: two can never share
// a folder, and a lock dies with its process, so nothing stale is ever believed.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace fathom {

class RunDir {
 public:
  // Makes the folder and takes its lock; FAILED_PRECONDITION naming the process that holds it.
  static Result<RunDir> take(const std::string& path);
  RunDir(RunDir&& other) noexcept;
  RunDir& operator=(RunDir&&) = delete;
  ~RunDir();

  Status write(const std::string& name, const std::string& text) const;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  // The process that holds the lock of this folder, if any.
  static std::optional<pid_t> owner(const std::string& path);

 private:
  RunDir(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_ = -1;
};

}  // namespace fathom
