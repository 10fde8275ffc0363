// How does a test run an operation on a GPU? It puts inputs there, makes room for outputs (full of
// not-a-number, so that what is not written shows), and gets them back. Without a GPU every such
// test is skipped and says why.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/cpu/latent_i8.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cuda/device.h"
#include "kernels/placed.h"
#include "tests/unit/kernels/naive.h"

namespace fathom {

// The same inputs in every run, and others with --gtest_random_seed=N.
inline uint32_t chosen_seed() {
  return 0x5EEDu + static_cast<uint32_t>(GTEST_FLAG_GET(random_seed));
}

// An emulated GPU takes thousands of times as long. A test that would take minutes there takes
// fewer or smaller cases of the same kinds: as many tiles as it needs for a first, a middle and a
// last one, numbers on both sides of each limit.
inline constexpr bool kGpuIsEmulated = FATHOM_GPU_IS_EMULATED;

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
    auto made = make_cuda_device({});
    ASSERT_TRUE(made.ok()) << made.error().text();
    device = std::move(made).value();
    scratch = make_scratch(*device);
    placed.emplace(*device);
  }
  void TearDown() override {
    if (!device) return;
    EXPECT_TRUE(device->wait().ok()) << device->wait().error().text();
    for (void* m : rooms_) device->release(m);
    placed.reset();
    scratch.reset();
  }

  const Ops& ops() const { return *cuda_ops(); }
  OpContext context(Compute compute = Compute::float32) {
    scratch->reset();
    return {.scratch = scratch.get(), .compute = compute, .device = device.get()};
  }

  template <class T>
  T* put(const std::vector<T>& values) {
    T* there = room<T>(values.size());
    device->upload(there, values.data(), values.size() * sizeof(T));
    return there;
  }
  Weight put(const Weight& weight) { return placed->place(weight).value(); }

  template <class T>
  T* room(size_t count) {
    const std::vector<uint8_t> poison(count * sizeof(T), 0xFF);
    void* there = device->allocate(count * sizeof(T) + 1);
    EXPECT_NE(there, nullptr);
    rooms_.push_back(there);
    device->upload(there, poison.data(), poison.size());
    return static_cast<T*>(there);
  }

  template <class T>
  std::vector<T> get(const T* from, size_t count) {
    std::vector<T> values(count);
    const Status status = device->download(values.data(), from, count * sizeof(T));
    EXPECT_TRUE(status.ok()) << status.error().text();
    return values;
  }
  // A bf16 result, widened.
  std::vector<float> get_bf16(const void* from, size_t count) {
    const auto bits = get(static_cast<const uint16_t*>(from), count);
    std::vector<float> out(count);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t wide = uint32_t{bits[i]} << 16;
      std::memcpy(&out[i], &wide, 4);
    }
    return out;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Scratch> scratch;
  std::optional<PlacedWeights> placed;

 private:
  std::vector<void*> rooms_;
};

// Bits of bf16, nearest even, of float32 values: what a bf16 activation buffer holds.
inline std::vector<uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float r = naive::rounded_bf16(values[i]);
    uint32_t bits;
    std::memcpy(&bits, &r, 4);
    out[i] = static_cast<uint16_t>(bits >> 16);
  }
  return out;
}

// Tokens, each [latent (rank) | rope key], as a cache of 8 bits holds them; the values become what
// the bytes stand for.
inline std::vector<uint8_t> as_latent_bytes(std::vector<float>& values, int32_t rank,
                                            int32_t rope) {
  const auto width = static_cast<size_t>(rank + rope);
  const auto size = static_cast<size_t>(latent_stride(DType::i8, rank, rope));
  std::vector<uint8_t> bytes(values.size() / width * size);
  for (size_t t = 0; t < values.size() / width; ++t) {
    float* const token = &values[t * width];
    cpu::quantise_latent(token, token + rank, rank, rope, &bytes[t * size]);
    cpu::widen_latent(&bytes[t * size], rank, rope, token);
  }
  return bytes;
}

// || got - want || / || want ||; not-a-number never passes.
inline double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double off = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    off += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  const double e = std::sqrt(off / (size > 0 ? size : 1));
  return std::isnan(e) ? INFINITY : e;
}

}  // namespace fathom
