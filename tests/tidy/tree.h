// What is in the source tree? Every C++, CUDA and web file of a folder with its lines, so that the
// rules of tidy_test.cpp are one loop each. Paths are relative to the root of the repository and
// sorted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::tidy {

struct SourceFile {
  std::string path;  // "services/base/result.h"
  std::vector<std::string> lines;

  bool is_header() const { return path.ends_with(".h") || path.ends_with(".cuh"); }
  bool under(std::string_view folder) const { return path.starts_with(folder); }
  // The folder that decides its floor: "base" for services/base/..., "kernels" for kernels/....
  std::string house() const;
};

// All *.h, *.cpp, *.cuh and *.cu below these folders.
std::vector<SourceFile> sources(const std::vector<std::string>& folders);

// All *.js, *.mjs, *.css and *.html below these folders.
std::vector<SourceFile> web_sources(const std::vector<std::string>& folders);

// A line without its comment and without the contents of its string literals: what the compiler
// obeys.
std::string code_of(std::string_view line);

// "path:12: text", for a failure message.
std::string at(const SourceFile& file, size_t index);

}  // namespace fathom::tidy
