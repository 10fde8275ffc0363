#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <optional>

namespace fathom {
namespace {

namespace json = boost::json;

constexpr uint64_t kHeaderMax = 100'000'000;  // the format's own limit

struct TypeRow {
  StoredType type;
  std::string_view name;
  int64_t bytes;
};
constexpr std::array kTypes = {
    TypeRow{StoredType::f64, "F64", 8},         TypeRow{StoredType::f32, "F32", 4},
    TypeRow{StoredType::f16, "F16", 2},         TypeRow{StoredType::bf16, "BF16", 2},
    TypeRow{StoredType::i64, "I64", 8},         TypeRow{StoredType::i32, "I32", 4},
    TypeRow{StoredType::i16, "I16", 2},         TypeRow{StoredType::i8, "I8", 1},
    TypeRow{StoredType::u64, "U64", 8},         TypeRow{StoredType::u32, "U32", 4},
    TypeRow{StoredType::u16, "U16", 2},         TypeRow{StoredType::u8, "U8", 1},
    TypeRow{StoredType::boolean, "BOOL", 1},    TypeRow{StoredType::f8_e4m3, "F8_E4M3", 1},
    TypeRow{StoredType::f8_e5m2, "F8_E5M2", 1}, TypeRow{StoredType::f8_e8m0, "F8_E8M0", 1},
};

Error broken(const std::string& file, std::string message, std::string_view tensor = {}) {
  if (!tensor.empty()) message = "tensor " + std::string(tensor) + ": " + message;
  return {Code::data_loss, std::move(message), file};
}

// Keys at depth 1 as written: Boost.JSON silently keeps the last of two equal ones. The text is
// valid JSON.
size_t top_level_keys(std::string_view text) {
  size_t keys = 0;
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ':' && depth == 1) {
      ++keys;
    }
  }
  return keys;
}

std::optional<uint64_t> whole(const json::value& v) {
  if (const auto* u = v.if_uint64()) return *u;
  if (const auto* i = v.if_int64(); i && *i >= 0) return static_cast<uint64_t>(*i);
  return std::nullopt;
}

Result<TensorEntry> read_entry(std::string_view name, const json::value& value, uint64_t data_begin,
                               uint64_t data_bytes, const std::string& file) {
  const auto* object = value.if_object();
  if (object == nullptr) return broken(file, "its header entry is not an object", name);
  TensorEntry entry;
  entry.name = std::string(name);

  const auto* type = object->if_contains("dtype");
  if (type == nullptr || !type->is_string()) return broken(file, "dtype is missing", name);
  const std::string_view type_name(type->get_string().data(), type->get_string().size());
  const auto row = std::find_if(kTypes.begin(), kTypes.end(),
                                [&](const TypeRow& r) { return r.name == type_name; });
  if (row == kTypes.end()) return broken(file, "unknown dtype " + std::string(type_name), name);
  entry.type = row->type;

  const auto* shape = object->if_contains("shape");
  if (shape == nullptr || !shape->is_array()) return broken(file, "shape is missing", name);
  uint64_t bytes = static_cast<uint64_t>(row->bytes);
  for (const auto& v : shape->get_array()) {
    const auto n = whole(v);
    if (!n || *n > (uint64_t{1} << 40))
      return broken(file, "shape holds a value that is no size", name);
    if (*n != 0 && bytes > (uint64_t{1} << 60) / *n)
      return broken(file, "shape is too large", name);
    bytes *= *n;
    entry.shape.push_back(static_cast<int64_t>(*n));
  }

  const auto* offsets = object->if_contains("data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->get_array().size() != 2)
    return broken(file, "data_offsets must be two numbers", name);
  const auto begin = whole(offsets->get_array()[0]), end = whole(offsets->get_array()[1]);
  if (!begin || !end || *begin > *end)
    return broken(file, "data_offsets must be two rising numbers", name);
  if (*end > data_bytes)
    return broken(file,
                  "ends at byte " + std::to_string(*end) + " of the data, which has " +
                      std::to_string(data_bytes) + " (truncated file?)",
                  name);
  if (*end - *begin != bytes)
    return broken(file,
                  "shape and dtype need " + std::to_string(bytes) + " bytes, data_offsets give " +
                      std::to_string(*end - *begin),
                  name);
  entry.begin = data_begin + *begin;
  entry.end = data_begin + *end;
  return entry;
}

// Tensors must cover the data exactly: no overlap, no gap, nothing behind the last.
Status check_tiling(std::vector<TensorEntry>& entries, uint64_t data_begin, uint64_t file_bytes,
                    const std::string& file) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t at = data_begin;
  for (const auto& e : entries) {
    if (e.begin < at) return broken(file, "overlaps the tensor before it", e.name);
    if (e.begin > at)
      return broken(file, std::to_string(e.begin - at) + " bytes before it belong to no tensor",
                    e.name);
    at = e.end;
  }
  if (at != file_bytes)
    return broken(file, std::to_string(file_bytes - at) +
                            " bytes behind the last tensor belong to no tensor");
  return {};
}

}  // namespace

std::string_view stored_type_name(StoredType type) {
  for (const auto& row : kTypes)
    if (row.type == type) return row.name;
  return "?";
}

int64_t stored_type_bytes(StoredType type) {
  for (const auto& row : kTypes)
    if (row.type == type) return row.bytes;
  return 1;
}

Result<std::vector<TensorEntry>> parse_safetensors(std::span<const std::byte> start,
                                                   uint64_t file_bytes, const std::string& file) {
  if (start.size() < 8 || file_bytes < 8)
    return broken(file, "shorter than the 8 bytes of a safetensors length");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = (length << 8) | std::to_integer<uint64_t>(start[static_cast<size_t>(i)]);
  if (length > kHeaderMax)
    return broken(file, "header length " + std::to_string(length) + " is absurd");
  if (length > file_bytes - 8 || length > start.size() - 8)
    return broken(file, "header of " + std::to_string(length) +
                            " bytes is longer than the file (truncated?)");
  const std::string_view text(reinterpret_cast<const char*>(start.data()) + 8, length);

  boost::system::error_code problem;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), problem);
  if (problem) return broken(file, "header is not valid JSON: " + problem.message());
  if (!root.is_object()) return broken(file, "header is not a JSON object");
  const auto& object = root.get_object();
  if (top_level_keys(text) != object.size()) return broken(file, "header names a tensor twice");

  const uint64_t data_begin = 8 + length;
  std::vector<TensorEntry> entries;
  for (const auto& item : object) {
    const std::string_view name(item.key().data(), item.key().size());
    if (name == "__metadata__") continue;
    FATHOM_TRY(auto entry,
               read_entry(name, item.value(), data_begin, file_bytes - data_begin, file));
    entries.push_back(std::move(entry));
  }
  FATHOM_CHECKED(check_tiling(entries, data_begin, file_bytes, file));
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  return entries;
}

}  // namespace fathom
