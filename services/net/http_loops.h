// How do the server's sockets get at the event loops behind HttpThreads? Private to net/: the one
// place where the loops are known to be Asio contexts.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "net/http_threads.h"

namespace fathom {

class HttpLoops final : public HttpThreads {
 public:
  explicit HttpLoops(int count);
  ~HttpLoops() override;
  int count() const override { return static_cast<int>(loops_.size()); }
  void post(int thread, std::function<void()> work) override;
  std::unique_ptr<HttpTimer> timer(int thread, std::function<void()> fire) override;
  void stop() override;
  boost::asio::io_context& context(int thread) {
    return loops_[static_cast<size_t>(thread)]->context;
  }

 private:
  struct Loop {
    boost::asio::io_context context{1};  // one thread runs it: no internal locking contention
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
        context.get_executor()};
    std::thread thread;
  };
  std::vector<std::unique_ptr<Loop>> loops_;
};

}  // namespace fathom
