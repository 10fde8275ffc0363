// What does a sum over virtual ranks on one GPU cost? Threads with a stream each, 200 sums in a
// row, wall time of one. On one GPU all ranks share its memory, so this is the cost of the protocol
// (meetings, events, launches) and of the copies; between GPUs NVLink comes on top.
// links: fathom_kernels
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"

namespace {

using namespace fathom;

double microseconds_of(int ranks, int64_t count) {
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<Device*> places;
  for (int r = 0; r < ranks; ++r) {
    devices.push_back(make_cuda_device({}).value());
    places.push_back(devices.back().get());
  }
  auto group = make_peer_collectives(places).value();
  std::vector<double> took(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      Device& device = *places[static_cast<size_t>(r)];
      Collectives& end = *group[static_cast<size_t>(r)];
      const size_t bytes = static_cast<size_t>(count) * sizeof(float);
      auto* data = static_cast<float*>(device.allocate(bytes));
      device.fill_zero(data, bytes);
      constexpr int kTimes = 200;
      for (const int times : {20, kTimes}) {
        if (!end.finish().ok()) return;
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < times; ++i)
          if (!end.all_reduce(data, count).ok()) return;
        if (!end.finish().ok()) return;
        const std::chrono::duration<double, std::micro> d =
            std::chrono::steady_clock::now() - start;
        took[static_cast<size_t>(r)] = d.count() / times;
      }
      device.release(data);
    });
  for (auto& thread : threads) thread.join();
  return *std::max_element(took.begin(), took.end());
}

}  // namespace

int main() {
  if (cuda_device_count() == 0) {
    std::printf("%s\n", cuda_absence().c_str());
    return 0;
  }
  std::printf("%12s %10s %10s %10s   us for one all_reduce\n", "floats", "2 ranks", "4 ranks",
              "8 ranks");
  for (const int64_t rows : {1, 8, 32, 128, 512, 2048}) {
    std::printf("%12lld", static_cast<long long>(rows * 7168));
    for (const int ranks : {2, 4, 8}) std::printf(" %10.1f", microseconds_of(ranks, rows * 7168));
    std::printf("\n");
  }
}
