// Does a damaged checkpoint end in an error that names the file and the tensor, whatever the
// damage?
#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/golden/checkpoint_writer.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

Result<std::vector<TensorEntry>> parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), bytes.size(), "f.safetensors");
}

std::string good() {
  return safetensors_bytes(
      {{"a", "BF16", {2, 3}, std::string(12, 'x')}, {"b", "F32", {2}, std::string(8, 'y')}});
}

TEST(Safetensors, a_good_file_lists_its_tensors) {
  const auto got = parse(good());
  ASSERT_TRUE(got.ok()) << got.error().text();
  ASSERT_EQ(got->size(), 2u);
  EXPECT_EQ((*got)[0].name, "a");
  EXPECT_EQ((*got)[0].type, StoredType::bf16);
  EXPECT_EQ((*got)[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ((*got)[1].end, good().size());
}

TEST(Safetensors, every_truncation_is_an_error_naming_the_file) {
  const std::string bytes = good();
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto got = parse(bytes.substr(0, n));
    ASSERT_FALSE(got.ok()) << n;
    EXPECT_EQ(got.error().field, "f.safetensors");
  }
}

TEST(Safetensors, any_damaged_byte_of_the_header_is_survived) {
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = good();
    for (int k = 0; k < 1 + i % 3; ++k) bytes[random() % 150] = static_cast<char>(random());
    const auto got = parse(bytes);
    if (!got.ok()) continue;
    for (const auto& e : *got) ASSERT_TRUE(e.begin <= e.end && e.end <= bytes.size());
  }
}

struct Damage {
  std::string name, header, says;
};
void PrintTo(const Damage& d, std::ostream* out) { *out << d.name; }

class Damaged : public ::testing::TestWithParam<Damage> {};

TEST_P(Damaged, header_is_refused_with_the_reason) {
  const auto got = parse(with_header(GetParam().header, std::string(20, 'd')));
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.error().message, HasSubstr(GetParam().says));
  EXPECT_EQ(got.error().code, Code::data_loss);
}

#define ENTRY(dtype, shape, from, to) \
  "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
INSTANTIATE_TEST_SUITE_P(
    matrix, Damaged,
    ::testing::Values(
        Damage{"not_json", "{\"a\":", "not valid JSON"},
        Damage{"not_an_object", "[1,2]", "not a JSON object"},
        Damage{"deep_nesting", std::string(5000, '['), "not valid JSON"},
        Damage{"entry_no_object", "{\"a\":3}", "tensor a: its header entry is not an object"},
        Damage{
            "twice",
            "{\"a\":" ENTRY("F32", "[5]", "0", "20") ",\"a\":" ENTRY("F32", "[5]", "0", "20") "}",
            "twice"},
        Damage{"unknown_type", "{\"a\":" ENTRY("F4", "[5]", "0", "20") "}",
               "tensor a: unknown dtype F4"},
        Damage{"no_type", "{\"a\":{\"shape\":[5],\"data_offsets\":[0,20]}}",
               "tensor a: dtype is missing"},
        Damage{"no_shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,20]}}",
               "tensor a: shape is missing"},
        Damage{"negative_size", "{\"a\":" ENTRY("F32", "[-5]", "0", "20") "}", "no size"},
        Damage{"fraction", "{\"a\":" ENTRY("F32", "[2.5]", "0", "20") "}", "no size"},
        Damage{"overflow",
               "{\"a\":" ENTRY("F32", "[1099511627776,1099511627776,1099511627776]", "0", "20") "}",
               "too large"},
        Damage{"one_offset", "{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0]}}",
               "two numbers"},
        Damage{"falling_offsets", "{\"a\":" ENTRY("F32", "[5]", "20", "0") "}", "rising"},
        Damage{"beyond_the_end", "{\"a\":" ENTRY("F32", "[6]", "0", "24") "}",
               "tensor a: ends at byte 24"},
        Damage{"shape_mismatch", "{\"a\":" ENTRY("F32", "[4]", "0", "20") "}",
               "need 16 bytes, data_offsets give 20"},
        Damage{
            "overlap",
            "{\"a\":" ENTRY("U8", "[12]", "0", "12") ",\"b\":" ENTRY("U8", "[12]", "8", "20") "}",
            "tensor b: overlaps"},
        Damage{"gap",
               "{\"a\":" ENTRY("U8", "[4]", "0", "4") ",\"b\":" ENTRY("U8", "[12]", "8", "20") "}",
               "tensor b: 4 bytes before it"},
        Damage{"tail", "{\"a\":" ENTRY("U8", "[16]", "0", "16") "}",
               "4 bytes behind the last tensor"}),
    [](const auto& instance) { return instance.param.name; });

TEST(Safetensors, an_absurd_header_length_is_refused) {
  const auto got = parse(little_endian(uint64_t{1} << 62) + std::string(100, ' '));
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.error().message, HasSubstr("absurd"));
}

const TensorToWrite kA{"a", "F32", {1}, "aaaa"}, kB{"b", "F32", {1}, "bbbb"};

std::string open_error(const TestFolder& folder) {
  const auto got = Checkpoint::open(folder.path());
  return got.ok() ? "opened" : got.error().text();
}

TEST(Checkpoint, shards_are_joined_by_their_index) {
  TestFolder folder;
  folder.write("x.safetensors", safetensors_bytes({kB}));
  folder.write("y.safetensors", safetensors_bytes({kA}));
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"a":"y.safetensors","b":"x.safetensors"}})");
  const auto got = Checkpoint::open(folder.path());
  ASSERT_TRUE(got.ok()) << got.error().text();
  EXPECT_EQ(static_cast<char>(got->find("a")->bytes[0]), 'a');
  EXPECT_EQ(static_cast<char>(got->find("b")->bytes[0]), 'b');
  EXPECT_EQ(got->find("c"), nullptr);
}

TEST(Checkpoint, an_empty_folder_is_named) {
  TestFolder folder;
  EXPECT_THAT(open_error(folder), HasSubstr(folder.path()));
}

TEST(Checkpoint, an_index_that_lies_is_refused_naming_file_and_tensor) {
  struct Lie {
    const char *map, *says;
  };
  for (const Lie& lie :
       {Lie{R"({"a":"x.safetensors"})", "does not name tensor b"},
        Lie{R"({"a":"x.safetensors","b":"x.safetensors","c":"x.safetensors"})",
            "tensor c is missing"},
        Lie{R"({"a":"x.safetensors","b":"gone.safetensors"})", "gone.safetensors"},
        Lie{R"({"a":"x.safetensors","b":"../x.safetensors"})", "outside the folder"},
        Lie{R"({"a":"x.safetensors","b":7})", "b does not name a file"},
        Lie{"{}", "weight_map is empty"}, Lie{"7", "weight_map is missing"}}) {
    TestFolder folder;
    folder.write("x.safetensors", safetensors_bytes({kA, kB}));
    folder.write("model.safetensors.index.json", std::string("{\"weight_map\":") + lie.map + "}");
    EXPECT_THAT(open_error(folder), HasSubstr(lie.says)) << lie.map;
  }
}

TEST(Checkpoint, a_tensor_in_two_shards_is_refused) {
  TestFolder folder;
  folder.write("x.safetensors", safetensors_bytes({kA, kB}));
  folder.write("y.safetensors", safetensors_bytes({kA}));
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"a":"y.safetensors","b":"x.safetensors"}})");
  EXPECT_THAT(open_error(folder), HasSubstr("tensor a lies also in"));
}

}  // namespace
}  // namespace fathom
