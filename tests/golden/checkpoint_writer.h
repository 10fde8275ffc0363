// How does a test make a checkpoint? Tensors as bytes, written in the safetensors format; the
// header is padded only when asked, so that tensors may lie at any address.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/check.h"

namespace fathom {

struct TensorToWrite {
  std::string name;
  std::string dtype;  // "BF16", "F8_E4M3", ...
  std::vector<int64_t> shape;
  std::string bytes;
};

inline std::string little_endian(uint64_t value) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string with_header(const std::string& json, const std::string& data) {
  return little_endian(json.size()) + json + data;
}

inline std::string header_entry(const TensorToWrite& t, size_t begin) {
  std::string shape;
  for (const int64_t n : t.shape) shape += (shape.empty() ? "" : ",") + std::to_string(n);
  return "\"" + t.name + "\":{\"dtype\":\"" + t.dtype + "\",\"shape\":[" + shape +
         "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(begin + t.bytes.size()) + "]}";
}

inline std::string safetensors_bytes(const std::vector<TensorToWrite>& tensors,
                                     bool aligned = true) {
  std::string json = "{\"__metadata__\":{\"format\":\"pt\"}", data;
  for (const auto& t : tensors) {
    json += "," + header_entry(t, data.size());
    data += t.bytes;
  }
  json += "}";
  while (json.size() % 8 != (aligned ? 0 : 5)) json += ' ';
  return with_header(json, data);
}

// A folder of its own, removed at the end.
class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fathom-test-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream out(path_ + "/" + name, std::ios::binary);
    out << bytes;
    CHECK(out.good());
  }

 private:
  std::string path_;
};

}  // namespace fathom
