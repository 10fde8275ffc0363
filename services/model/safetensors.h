// What lies in a safetensors file? Eight bytes of header length, a JSON header, raw tensors. The
// parser believes nothing: lengths, offsets, shapes and types must agree with each other and with
// the size of the file, and tensors must tile the data without gap or overlap, or the error names
// the file and the tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/mapped_file.h"

namespace fathom {

enum class StoredType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0
};

// As written in the header: "BF16", "F8_E4M3", ...
std::string_view stored_type_name(StoredType type);
int64_t stored_type_bytes(StoredType type);

struct TensorEntry {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the file
};

// Checks and lists the tensors of one file, sorted by name. `start` is the file from its first
// byte, at least through the header; `file_bytes` its whole size.
Result<std::vector<TensorEntry>> parse_safetensors(std::span<const std::byte> start,
                                                   uint64_t file_bytes, const std::string& file);

// One tensor of a checkpoint, in mapped memory.
struct StoredTensor {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  int32_t file = 0;  // into Checkpoint::files()
};

// All tensors of a model folder: model.safetensors, or the shards of model.safetensors.index.json,
// whose weight_map must agree with the shards exactly.
class Checkpoint {
 public:
  static Result<Checkpoint> open(const std::string& dir);
  const StoredTensor* find(std::string_view name) const;
  std::span<const StoredTensor> tensors() const { return tensors_; }  // sorted by name
  const std::string& file_of(const StoredTensor& tensor) const {
    return files_[static_cast<size_t>(tensor.file)];
  }
  std::span<const std::string> files() const { return files_; }
  std::span<const MappedFile> maps() const { return maps_; }  // in the order of files()

 private:
  Status add_file(const std::string& path);
  Status sort_tensors();

  std::vector<std::string> files_;
  std::vector<MappedFile> maps_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace fathom
