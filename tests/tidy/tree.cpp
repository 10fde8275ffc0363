#include "tests/tidy/tree.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace fathom::tidy {

namespace fs = std::filesystem;

std::string SourceFile::house() const {
  if (under("kernels/")) return "kernels";
  if (!under("services/")) return "";
  const size_t start = std::string_view("services/").size();
  return path.substr(start, path.find('/', start) - start);
}

namespace {

std::vector<SourceFile> files_of(const std::vector<std::string>& folders,
                                 const std::vector<std::string>& extensions) {
  const fs::path root = FATHOM_SOURCE_DIR;
  std::vector<SourceFile> files;
  for (const auto& folder : folders) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (std::ranges::find(extensions, entry.path().extension().string()) == extensions.end())
        continue;
      SourceFile file{.path = fs::relative(entry.path(), root).generic_string(), .lines = {}};
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) file.lines.push_back(line);
      files.push_back(std::move(file));
    }
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

}  // namespace

std::vector<SourceFile> sources(const std::vector<std::string>& folders) {
  return files_of(folders, {".h", ".cpp", ".cuh", ".cu"});
}

std::vector<SourceFile> web_sources(const std::vector<std::string>& folders) {
  return files_of(folders, {".js", ".mjs", ".css", ".html"});
}

std::string code_of(std::string_view line) {
  std::string code;
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (!quoted && line.substr(i).starts_with("//")) break;
    if (quoted && line[i] == '\\') {
      ++i;
      continue;
    }
    if (line[i] == '"' && !(i > 0 && line[i - 1] == '\'')) quoted = !quoted;
    if (!quoted) code += line[i];
  }
  return code;
}

std::string at(const SourceFile& file, size_t index) {
  return file.path + ":" + std::to_string(index + 1) + ": " + file.lines[index];
}

}  // namespace fathom::tidy
