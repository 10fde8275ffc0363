#include "cli/screen.h"

#include <unistd.h>

#include <fstream>
#include <iostream>
#include <utility>

namespace fathom {
namespace {

class Terminal final : public Screen {
 public:
  ~Terminal() override { clear(); }

  void line(const std::string& text) override {
    clear();
    std::cout << text << std::endl;
  }

  void progress(const std::string& text) override {
    if (text == shown_) return;
    if (!tty_) {
      std::cout << text << std::endl;
    } else {
      std::cout << "\r\x1b[K" << text << std::flush;
    }
    shown_ = text;
  }

  void piece(const std::string& text) override {
    clear();
    std::cout << text << std::flush;
  }

  void error(const std::string& text) override {
    clear();
    std::cerr << text << std::endl;
  }

  bool watched() const override { return true; }
  void ready() override { clear(); }

 private:
  void clear() {
    if (!shown_.empty() && tty_) std::cout << "\r\x1b[K" << std::flush;
    shown_.clear();
  }

  bool tty_ = ::isatty(1) == 1;
  std::string shown_;
};

// One message: a letter, the text with its line ends hidden, a line end.
class Pipe final : public Screen {
 public:
  Pipe(int fd, std::string log_path) : fd_(fd), log_path_(std::move(log_path)) {}
  ~Pipe() override { close(); }
  void line(const std::string& text) override { put('L', text); }
  void progress(const std::string& text) override { put('P', text); }
  void piece(const std::string& text) override { put('A', text); }
  void error(const std::string& text) override { put('E', text); }
  bool watched() const override { return watched_; }
  void ready() override {
    put('R', "");
    close();
  }

 private:
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  void put(char kind, std::string text) {
    if (fd_ < 0) {
      std::ofstream(log_path_, std::ios::app) << text << "\n";
      return;
    }
    for (auto& c : text)
      if (c == '\n') c = '\x1e';
    text = kind + text + "\n";
    watched_ = watched_ && ::write(fd_, text.data(), text.size()) > 0;
  }

  int fd_;
  std::string log_path_;
  bool watched_ = true;
};

// True when the relay is over.
bool replay(char kind, const std::string& text, Screen& to, bool& ready) {
  switch (kind) {
    case 'L':
      to.line(text);
      return false;
    case 'P':
      to.progress(text);
      return false;
    case 'A':
      to.piece(text);
      return false;
    case 'E':
      to.error(text);
      return true;
    case 'R':
      to.ready();
      ready = true;
      return true;
    default:
      return false;
  }
}

}  // namespace

std::unique_ptr<Screen> make_terminal_screen() { return std::make_unique<Terminal>(); }
std::unique_ptr<Screen> make_pipe_screen(int fd, const std::string& log_path) {
  return std::make_unique<Pipe>(fd, log_path);
}

bool relay_screen(int fd, Screen& to) {
  std::string pending;
  char buffer[4096];
  bool ready = false;
  for (;;) {
    const ssize_t size = ::read(fd, buffer, sizeof buffer);
    if (size <= 0) return false;
    pending.append(buffer, static_cast<size_t>(size));
    for (size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      std::string text = pending.substr(1, end - 1);
      const char kind = pending[0];
      pending.erase(0, end + 1);
      for (auto& c : text)
        if (c == '\x1e') c = '\n';
      if (replay(kind, text, to, ready)) return ready;
    }
  }
}

}  // namespace fathom
