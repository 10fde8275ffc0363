// Are weights in memory before they are needed, as they are in the file, whatever the system's
// cache held before; and is a file that can not be read an error and not a crash?
#include "model/prefault.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "model/weights.h"

namespace fathom {
namespace {

using Extent = std::span<const std::byte>;

constexpr size_t kTensorBytes = size_t{24} << 20;
constexpr int kTensors = 4;

// A checkpoint of four tensors of bytes, large enough to be worth a look at its pages.
struct Prefault : ::testing::Test {
  std::string dir;
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "prefault-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir = pattern;
    std::string header = "{";
    for (int i = 0; i < kTensors; ++i)
      header += (i > 0 ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":"U8","shape":[)" +
                std::to_string(kTensorBytes) + "],\"data_offsets\":[" +
                std::to_string(kTensorBytes * static_cast<size_t>(i)) + "," +
                std::to_string(kTensorBytes * static_cast<size_t>(i + 1)) + "]}";
    header += "}";
    std::ofstream out(dir + "/model.safetensors", std::ios::binary);
    const uint64_t length = header.size();
    out.write(reinterpret_cast<const char*>(&length), 8) << header;
    std::string block(size_t{1} << 20, '\0');
    for (size_t at = 0; at < kTensorBytes * kTensors; at += block.size()) {
      for (size_t i = 0; i < block.size(); ++i) block[i] = value_at(at + i);
      out << block;
    }
  }
  void TearDown() override { std::filesystem::remove_all(dir); }

  static char value_at(size_t at) { return static_cast<char>((at * 31 + (at >> 12)) % 251); }
  static void expect_right(const Checkpoint& checkpoint) {
    for (int i = 0; i < kTensors; ++i) {
      const Extent bytes = checkpoint.tensors()[static_cast<size_t>(i)].bytes;
      const size_t begin = kTensorBytes * static_cast<size_t>(i);
      for (size_t at = 0; at < bytes.size(); at += 997)
        ASSERT_EQ(static_cast<char>(bytes[at]), value_at(begin + at)) << i << " " << at;
    }
  }
  static size_t pages_in_memory(Extent part) {
    const size_t begin = reinterpret_cast<uintptr_t>(part.data()) / 4096 * 4096;
    const size_t bytes = reinterpret_cast<uintptr_t>(part.data()) + part.size() - begin;
    std::vector<unsigned char> pages((bytes + 4095) / 4096);
    EXPECT_EQ(::mincore(reinterpret_cast<void*>(begin), bytes, pages.data()), 0);
    size_t there = 0;
    for (const unsigned char page : pages) there += page & 1;
    return there;
  }
};

TEST_F(Prefault, what_was_asked_for_is_in_memory_and_each_byte_counts_once) {
  const Checkpoint checkpoint = Checkpoint::open(dir).value();
  const Extent first = checkpoint.find("t0")->bytes, third = checkpoint.find("t2")->bytes;
  checkpoint.maps()[0].forget(checkpoint.maps()[0].bytes());
  uint64_t last = 0, whole = 0;
  const auto progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    whole = total;
  };
  const auto loaded = prefault(checkpoint, {third, first.first(5000), first, first.last(100)},
                               {.threads = 3}, progress);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->bytes, 2 * kTensorBytes);
  EXPECT_EQ(last, loaded->bytes);
  EXPECT_EQ(whole, loaded->bytes);
  for (const Extent part : {first, third}) EXPECT_GE(pages_in_memory(part), kTensorBytes / 4096);
  expect_right(checkpoint);
}

TEST_F(Prefault, small_pages_in_the_cache_are_read_anew_and_hold_the_same) {
  for (const bool huge : {false, true, true}) {
    const Checkpoint checkpoint = Checkpoint::open(dir).value();
    const auto loaded =
        prefault(checkpoint, {checkpoint.maps()[0].bytes()}, {.huge_pages = huge}, {});
    ASSERT_TRUE(loaded.ok());
    EXPECT_EQ(loaded->bytes, checkpoint.maps()[0].bytes().size());
    EXPECT_LE(loaded->huge_bytes, loaded->bytes);
    RecordProperty(huge ? "huge" : "plain", std::to_string(loaded->huge_bytes));
    expect_right(checkpoint);
  }
}

TEST_F(Prefault, a_file_that_was_cut_is_an_error_that_names_it) {
  const Checkpoint checkpoint = Checkpoint::open(dir).value();
  const std::string file = dir + "/model.safetensors";
  ASSERT_EQ(::truncate(file.c_str(), kTensorBytes), 0);
  const auto loaded = prefault(checkpoint, {checkpoint.maps()[0].bytes()}, {}, {});
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, Code::data_loss);
  EXPECT_EQ(loaded.error().field, file);
}

}  // namespace
}  // namespace fathom
