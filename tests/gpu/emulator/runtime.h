// What do the functions of the emulated runtime share? The open streams, what a thread of the host
// has set, and how a call begins, fails and says work.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "tests/gpu/emulator/machine.h"

namespace emulated {

struct OfThread {
  int gpu = 0;
  cudaError_t last_error = cudaSuccess;
  int captures = 0;  // begun by this thread
};
OfThread& of_thread();

struct Streams {
  std::map<Stream*, std::shared_ptr<Stream>> open;
};
Streams& streams();

// The machine's lock. Whoever takes it gives all streams a chance, where the schedule says so.
class Locked {
 public:
  Locked();

 private:
  std::scoped_lock<std::recursive_mutex> held_;
};

// `error`, remembered for cudaGetLastError.
cudaError_t answer(cudaError_t error);
std::shared_ptr<Stream> open_stream(cudaStream_t stream);  // null: there is none
// What can not be said while this thread records: true, with the error to return.
bool not_now(cudaError_t* error);
cudaError_t say(cudaStream_t raw, std::function<void()> act);

}  // namespace emulated
