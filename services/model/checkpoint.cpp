// How do the files of a model folder become one list of tensors? One file, or the shards an index
// names.
#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <map>
#include <set>

#include "model/config.h"
#include "model/safetensors.h"

namespace fathom {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

Error broken(const std::string& file, std::string message) {
  return {Code::data_loss, std::move(message), file};
}

// Does the tensor lie where the index says?
Status check_place(const Checkpoint& checkpoint, const std::string& tensor,
                   const std::string& shard, const std::string& index) {
  const StoredTensor* found = checkpoint.find(tensor);
  if (found == nullptr)
    return broken(shard, "tensor " + tensor + " is missing, though the index names it here");
  if (checkpoint.file_of(*found) != shard)
    return broken(
        index, "tensor " + tensor + " lies in " + checkpoint.file_of(*found) + ", not in " + shard);
  return {};
}

// weight_map of an index: tensor -> file name. A name that leaves the folder is refused.
Result<std::map<std::string, std::string>> read_weight_map(const std::string& text,
                                                           const std::string& file) {
  boost::system::error_code problem;
  const json::value root = json::parse(text, problem);
  if (problem) return broken(file, "not valid JSON: " + problem.message());
  const auto* object = root.if_object();
  const auto* map = object ? object->if_contains("weight_map") : nullptr;
  if (map == nullptr || !map->is_object()) return broken(file, "weight_map is missing");
  std::map<std::string, std::string> out;
  for (const auto& item : map->get_object()) {
    const std::string tensor(item.key());
    if (!item.value().is_string())
      return broken(file, "weight_map: " + tensor + " does not name a file");
    const std::string shard(item.value().get_string());
    if (shard.empty() || shard.find('/') != std::string::npos ||
        shard.find('\0') != std::string::npos)
      return broken(file, "weight_map: " + tensor + " names a file outside the folder");
    out.emplace(tensor, shard);
  }
  if (out.empty()) return broken(file, "weight_map is empty");
  return out;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& dir) {
  Checkpoint out;
  const std::string index = dir + "/model.safetensors.index.json";
  const std::string single = dir + "/model.safetensors";
  std::error_code ignored;
  if (!fs::exists(index, ignored)) {
    if (!fs::exists(single, ignored))
      return Error{Code::not_found,
                   "no model.safetensors and no model.safetensors.index.json in the folder", dir};
    FATHOM_CHECKED(out.add_file(single));
    FATHOM_CHECKED(out.sort_tensors());
    return out;
  }
  FATHOM_TRY(const std::string text, read_text_file(index));
  FATHOM_TRY(const auto map, read_weight_map(text, index));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map) shards.insert(shard);
  const auto in_dir = [&dir](const std::string& shard) { return dir + "/" + shard; };
  for (const auto& shard : shards) FATHOM_CHECKED(out.add_file(in_dir(shard)));
  FATHOM_CHECKED(out.sort_tensors());
  for (const auto& [tensor, shard] : map)
    FATHOM_CHECKED(check_place(out, tensor, in_dir(shard), index));
  for (const auto& tensor : out.tensors_)
    if (!map.contains(tensor.name))
      return broken(index, "weight_map does not name tensor " + tensor.name);
  return out;
}

Status Checkpoint::add_file(const std::string& path) {
  FATHOM_TRY(MappedFile map, MappedFile::open(path));
  FATHOM_TRY(auto entries, parse_safetensors(map.bytes(), map.bytes().size(), path));
  for (auto& e : entries)
    tensors_.push_back({std::move(e.name), e.type, std::move(e.shape),
                        map.bytes().subspan(e.begin, e.end - e.begin),
                        static_cast<int32_t>(files_.size())});
  files_.push_back(path);
  maps_.push_back(std::move(map));
  return {};
}

Status Checkpoint::sort_tensors() {
  std::sort(tensors_.begin(), tensors_.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(
      tensors_.begin(), tensors_.end(),
      [](const StoredTensor& a, const StoredTensor& b) { return a.name == b.name; });
  if (twice != tensors_.end())
    return broken(file_of(*twice),
                  "tensor " + twice->name + " lies also in " + file_of(*(twice + 1)));
  return {};
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto at =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const StoredTensor& t, std::string_view n) { return t.name < n; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

}  // namespace fathom
