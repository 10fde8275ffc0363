// How do tests drive the ranks of a group on GPUs? Ranks are threads with a stream each, dealt out
// to the GPUs there are; their parts are such that another order of adding shows.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"

namespace fathom {

inline std::vector<float> data_of(int rank, int round, size_t size) {
  std::mt19937 generator(static_cast<uint32_t>(rank * 1000 + round));
  std::vector<float> v(size);
  for (float& x : v) {
    const uint32_t bits = static_cast<uint32_t>(generator());
    // Of every size, so that another order of adding shows.
    x = (static_cast<float>(bits & 0xFFFF) - 32768.0f) * std::exp2(static_cast<float>(bits >> 28));
  }
  return v;
}

inline std::vector<float> sum_of(int ranks, int round, size_t size) {
  auto sum = data_of(0, round, size);
  for (int r = 1; r < ranks; ++r) {
    const auto x = data_of(r, round, size);
    for (size_t i = 0; i < size; ++i) sum[i] += x[i];
  }
  return sum;
}

inline size_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  size_t i = 0;
  while (i < a.size() && a[i] == b[i]) ++i;
  return i;
}

// One rank in its thread: its device, its end of the group, and memory on the device.
struct Seat {
  Device& device;
  Collectives& group;

  float* room(size_t count) {
    float* there = static_cast<float*>(device.allocate(count * sizeof(float)));
    EXPECT_NE(there, nullptr);
    return there;
  }
  void put(float* there, const std::vector<float>& values) {
    device.upload(there, values.data(), values.size() * sizeof(float));
  }
  std::vector<float> get(const float* there, size_t count) {
    const Status ended = group.finish();
    EXPECT_TRUE(ended.ok()) << ended.error().text();
    std::vector<float> values(count);
    EXPECT_TRUE(device.download(values.data(), there, count * sizeof(float)).ok());
    return values;
  }
};

class CudaCollectives : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
    make(GetParam());
  }
  void make(int count) {
    std::vector<Device*> places;
    for (int r = 0; r < count; ++r) {
      auto device = make_cuda_device({.index = r % cuda_device_count()});
      ASSERT_TRUE(device.ok()) << device.error().text();
      devices.push_back(std::move(device).value());
      places.push_back(devices.back().get());
    }
    auto made = make_peer_collectives(places, patience);
    ASSERT_TRUE(made.ok()) << made.error().text();
    ranks = std::move(made).value();
    ASSERT_EQ(ranks.size(), static_cast<size_t>(count));
  }
  void on_all(const std::function<void(Seat)>& fn) {
    std::vector<std::thread> threads;
    for (size_t r = 0; r < ranks.size(); ++r)
      threads.emplace_back([&, r] {
        fn({*devices[r], *ranks[r]});
        if (HasFatalFailure()) ranks[r].reset();  // it returned early: nobody waits for it
      });
    for (auto& thread : threads) thread.join();
  }

  // Whether the ranks can be recorded: each has a GPU of its own.
  bool apart() const {
    return ranks.size() > 1 && static_cast<int>(ranks.size()) <= cuda_device_count();
  }
  static void replay(Seat at, int32_t what, const std::function<void()>& say) {
    at.device.replay({.what = what}, say, [&](int32_t word) {
      const auto least = at.group.agree(word);
      return least.ok() ? *least : -1;
    });
  }

  Duration patience = Duration::seconds(30);
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<std::unique_ptr<Collectives>> ranks;
};

}  // namespace fathom
