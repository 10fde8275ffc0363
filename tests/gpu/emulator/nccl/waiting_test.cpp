// Is a peer in another process that never comes given up wherever a host waits for its GPU? Not
// only at the end of a step: where uploads have filled the ring, where memory grows, where a step
// is looked into. Whichever comes first gives up, and the next call says so.
#include <gtest/gtest.h>

#include <thread>

#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

// Two ranks that have joined; the second one says nothing from then on.
struct NcclWaiting : testing::Test {
  std::unique_ptr<Device> devices[2];
  std::unique_ptr<Collectives> ranks[2];
  float* memory = nullptr;
  static constexpr size_t kBytes = size_t{40} << 20;  // more than the ring for uploads holds
  std::vector<std::byte> bytes = std::vector<std::byte>(kBytes);

  void SetUp() override {
    const NcclId id = make_nccl_id().value();
    std::vector<std::thread> joining;
    for (int r = 0; r < 2; ++r)
      joining.emplace_back([&, r] {
        devices[r] = make_cuda_device({.index = r}).value();
        const NcclGroup group = {.id = id, .rank = r, .size = 2, .timeout = Duration::seconds(1)};
        ranks[r] = make_nccl_collectives(*devices[r], group).value();
      });
    for (auto& thread : joining) thread.join();
    memory = static_cast<float*>(devices[0]->allocate(kBytes));
    ASSERT_TRUE(ranks[0]->all_reduce(memory, 100).ok());
  }
  void TearDown() override { devices[0]->release(memory); }
  void expect_given_up() {
    const Status next = ranks[0]->all_reduce(memory, 100);
    ASSERT_FALSE(next.ok());
    EXPECT_EQ(next.error().code, Code::unavailable);
    EXPECT_TRUE(devices[0]->wait().ok()) << "the GPU itself is fine";
  }
};

TEST_F(NcclWaiting, uploads_that_fill_the_ring_give_a_missing_peer_up) {
  devices[0]->upload(memory, bytes.data(), kBytes);
  expect_given_up();
}

TEST_F(NcclWaiting, memory_that_grows_gives_a_missing_peer_up) {
  devices[0]->release(devices[0]->allocate(100));
  expect_given_up();
}

TEST_F(NcclWaiting, a_download_gives_a_missing_peer_up) {
  EXPECT_TRUE(devices[0]->download(bytes.data(), memory, 100).ok());
  expect_given_up();
}

}  // namespace
}  // namespace fathom
