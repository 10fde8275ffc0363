// Does a GPU device keep what it is given, in order, and does a recorded piece of work replay to
// the same bits? And is a GPU that is not there one clear line?
#include <numeric>

#include "on_gpu.h"

namespace fathom {
namespace {

TEST(CudaDevice, gpu_that_is_not_there_is_one_clear_line) {
  const auto made = make_cuda_device({.index = 4096});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::failed_precondition);
  EXPECT_EQ(made.error().field, "device");
  EXPECT_EQ(made.error().message.find('\n'), std::string::npos);
  EXPECT_FALSE(made.error().message.empty());
}

using CudaMemory = OnGpu;

TEST_F(CudaMemory, large_uploads_and_concurrent_reads_keep_every_byte) {
  std::vector<int32_t> values(40'000'000);
  std::iota(values.begin(), values.end(), 7);
  int32_t* there = put(values);
  EXPECT_EQ(get(there, values.size()), values);
  std::vector<int32_t> read(1000);
  ASSERT_TRUE(device->read(read.data(), there + 5, 4000).ok());
  EXPECT_EQ(read[0], 12);
  const std::vector<int32_t> zeros(1000, 0);
  ASSERT_TRUE(device->write(there, zeros.data(), 4000).ok());
  EXPECT_EQ(get(there, 1001)[999], 0);
  EXPECT_EQ(get(there, 1001)[1000], 1007);
}

TEST_F(CudaMemory, recorded_work_replays_on_new_values) {
  std::vector<float> x(1000, 1.0f), y(1000, 2.0f);
  float* xs = put(x);
  float* ys = put(y);
  for (int time = 1; time <= 4; ++time) {
    device->replay({.what = 1, .rows = 2},
                   [&] { ops().add(context(), {.x = xs, .y = ys, .count = 1000}); });
    EXPECT_EQ(get(xs, 1000), std::vector<float>(1000, 1.0f + 2.0f * static_cast<float>(time)));
  }
}

TEST_F(CudaMemory, a_download_is_of_its_place_in_the_order_and_needs_no_wait) {
  std::vector<float> x(5000, 1.0f), ones(5000, 1.0f);
  float* xs = put(x);
  float* ys = put(ones);
  auto before = device->make_download(), after = device->make_download();
  const auto add = [&] { ops().add(context(), {.x = xs, .y = ys, .count = 5000}); };
  before->begin(xs, 5000 * sizeof(float));
  add();
  after->begin(xs, 5000 * sizeof(float));
  add();
  const auto value = [](Download& download) {
    const auto bytes = download.finish();
    EXPECT_TRUE(bytes.ok()) << bytes.error().text();
    EXPECT_EQ(bytes->size(), 5000 * sizeof(float));
    float last;
    std::memcpy(&last, bytes->data() + bytes->size() - sizeof(float), sizeof(float));
    return last;
  };
  EXPECT_EQ(value(*after), 2.0f);
  EXPECT_EQ(value(*before), 1.0f);
  before->begin(nullptr, 0);
  EXPECT_TRUE(before->finish()->empty());
}

TEST_F(CudaMemory, uploads_beyond_all_staging_keep_their_bytes_beside_running_work) {
  std::vector<int32_t> values(3'000'000);
  int32_t* there = room<int32_t>(values.size());
  for (int32_t time = 0; time < 12; ++time) {  // 144 MB in all, never waited for
    std::iota(values.begin(), values.end(), time);
    device->upload(there, values.data(), values.size() * sizeof(int32_t));
  }
  EXPECT_EQ(get(there, values.size()), values);
}

TEST_F(CudaMemory, too_much_memory_is_an_answer_and_breaks_nothing) {
  EXPECT_EQ(device->allocate(size_t{1} << 50), nullptr);
  EXPECT_TRUE(device->wait().ok());
}

}  // namespace
}  // namespace fathom
