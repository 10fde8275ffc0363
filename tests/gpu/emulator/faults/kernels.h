// Which mistakes must an emulated GPU show? One kernel each, with and without the mistake; the
// kernels are in kernels.cu and say in their names what they do wrong.
#pragma once

#include <string>
#include <vector>

namespace emulated {

// What the stream's failure says; empty: none.
struct Outcome {
  std::string failure;
  std::vector<float> values;
};

// A block of 64 threads reverses 64 values through shared memory.
Outcome reverse(bool with_barrier);
// Half of a block comes to a barrier of the whole.
Outcome meet_by_half();
// Lanes of a warp come to different shuffles.
Outcome shuffle_apart();
// 64 values go into shared memory asynchronously and are read after a wait, or at once.
Outcome read_copied(bool with_wait);
// A second kernel doubles what the first one writes, and starts early.
Outcome double_after(bool with_wait);
// GPU 1 reads what GPU 0 writes, after an event or without one.
Outcome read_peer(bool with_event);
// A barrier that nobody initialised.
Outcome wait_uninitialised();
// A shared address behind the block's memory.
Outcome store_outside();

}  // namespace emulated
