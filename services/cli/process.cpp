#include "cli/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <utility>

extern "C" char** environ;

namespace fathom {
namespace {

// What posix_spawn wants, freed in every case.
struct SpawnSettings {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t files;
  SpawnSettings() {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&files);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
  }
};

// The child starts with no signal blocked or ignored, whatever its parent does.
void fresh_signals(SpawnSettings& settings, bool new_session) {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  flags |= new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
  posix_spawnattr_setflags(&settings.attributes, flags);
}

}  // namespace

std::string ProcessEnd::text() const {
  if (signal == 0) return "exited with code " + std::to_string(exit_code);
  return "was killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), detached_(other.detached_) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(detached_, other.detached_);
  return *this;
}

Process::~Process() {
  if (!running() || detached_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

Result<Process> Process::start(const ProgramStart& start) {
  SpawnSettings settings;
  fresh_signals(settings, start.new_session);
  posix_spawn_file_actions_addopen(&settings.files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&settings.files, 1, start.log_path.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&settings.files, 1, 2);
  // dup2 onto itself clears close-on-exec.
  if (start.pass_fd >= 0)
    posix_spawn_file_actions_adddup2(&settings.files, start.pass_fd, start.pass_fd);

  std::vector<std::string> words = {start.executable};
  words.insert(words.end(), start.arguments.begin(), start.arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  Process process;
  process.detached_ = start.new_session;
  const int failed = ::posix_spawn(&process.pid_, start.executable.c_str(), &settings.files,
                                   &settings.attributes, argv.data(), environ);
  if (failed != 0) {
    process.pid_ = -1;
    return Error{Code::internal, "could not be started: " + std::string(std::strerror(failed)),
                 start.name};
  }
  return process;
}

std::optional<ProcessEnd> Process::poll() {
  int status = 0;
  if (!running() || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  ProcessEnd end;
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  return end;
}

void Process::signal(int number) const {
  if (running()) ::kill(pid_, number);
}

std::string own_executable() {
  std::error_code code;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", code);
  return code ? "/proc/self/exe" : path.string();
}

std::string log_tail(const std::string& path, int lines, const std::string& indent) {
  std::ifstream in(path);
  std::deque<std::string> last;
  for (std::string line; std::getline(in, line);) {
    last.push_back(line);
    if (static_cast<int>(last.size()) > lines) last.pop_front();
  }
  std::string text;
  for (const auto& line : last) text += indent + line + "\n";
  return text;
}

}  // namespace fathom
