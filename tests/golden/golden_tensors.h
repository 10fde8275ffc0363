// What is stored under a name in a safetensors file of expectations? Its numbers, flat or as rows;
// a name that is missing ends the program, for a test without its expectation means nothing.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "base/check.h"
#include "model/safetensors.h"

namespace fathom {

class GoldenTensors {
 public:
  explicit GoldenTensors(const std::string& path) : file_(MappedFile::open(path).value()) {
    entries_ = parse_safetensors(file_.bytes(), file_.bytes().size(), path).value();
  }
  template <class T>
  std::vector<T> flat(const std::string& name) const {
    const TensorEntry& e = entry(name);
    std::vector<T> out((e.end - e.begin) / sizeof(T));
    std::memcpy(out.data(), file_.bytes().data() + e.begin, e.end - e.begin);
    return out;
  }
  std::vector<std::vector<float>> rows(const std::string& name) const {
    const auto all = flat<float>(name);
    const auto width = entry(name).shape.back();
    std::vector<std::vector<float>> out;
    for (auto at = all.begin(); at != all.end(); at += width) out.emplace_back(at, at + width);
    return out;
  }

 private:
  const TensorEntry& entry(const std::string& name) const {
    for (const auto& e : entries_)
      if (e.name == name) return e;
    CHECK(false, "no " + name);
    return entries_.front();
  }
  MappedFile file_;
  std::vector<TensorEntry> entries_;
};

}  // namespace fathom
