// links: fathom_text
//
// How fast is text encoded, on one core? For each text file: size, tokens, MB/s (the median of
// seven passes), and a checksum of the ids for bench/tokenizer_bench.py to compare. Then how the
// time grows with the length of a prompt, and what a piece costs that is one long word. Without
// files it reads the licences of the system and our sources. Usage: tokenizer_bench TOKENIZER_JSON
// [FILE...], from the root of the project.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// All regular files below `root` whose names end in one of `endings`, in order, joined.
std::string joined(const std::string& root, const std::vector<std::string>& endings) {
  std::set<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    for (const std::string& ending : endings)
      if (entry.is_regular_file() && !entry.is_symlink() && entry.path().string().ends_with(ending))
        paths.insert(entry.path());
  std::string text;
  for (const auto& path : paths) text += read_text(path);
  return text;
}

struct Timing {
  double seconds = 0;
  std::vector<TokenId> ids;
};

Timing timed(const Tokenizer& tokenizer, std::string_view text, int passes) {
  Timing timing;
  std::vector<double> seconds;
  for (int pass = 0; pass < passes; ++pass) {
    timing.ids.clear();
    const double start = seconds_now();
    tokenizer.encode(text, Specials::parse, timing.ids);
    seconds.push_back(seconds_now() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  timing.seconds = seconds[seconds.size() / 2];
  return timing;
}

uint32_t checksum(const std::vector<TokenId>& ids) {
  uint32_t sum = 0;
  for (const TokenId id : ids) sum = sum * 31 + static_cast<uint32_t>(id);
  return sum;
}

void report(const Tokenizer& tokenizer, const std::string& name, const std::string& text) {
  const Timing timing = timed(tokenizer, text, 7);
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  std::printf("text %s bytes %zu tokens %zu MB/s %.1f checksum %08x\n", name.c_str(), text.size(),
              timing.ids.size(), megabytes / timing.seconds, checksum(timing.ids));
}

void report_growth(const Tokenizer& tokenizer, const std::string& english) {
  for (const size_t tokens : {1000, 10'000, 100'000, 1'000'000}) {
    std::string text;
    while (text.size() < tokens * 5) text += english;
    text.resize(tokens * 5);
    const Timing timing = timed(tokenizer, text, 3);
    std::printf("prompt tokens %zu ms %.2f ns/token %.0f\n", timing.ids.size(),
                timing.seconds * 1e3,
                timing.seconds * 1e9 / static_cast<double>(timing.ids.size()));
  }
  for (const size_t size : {100'000, 1'000'000}) {
    const Timing timing = timed(tokenizer, std::string(size, 'a'), 3);
    std::printf("one word of %zu letters ms %.1f ns/byte %.0f\n", size, timing.seconds * 1e3,
                timing.seconds * 1e9 / static_cast<double>(size));
  }
}

int run(const std::string& path, const std::vector<std::string>& files) {
  const double start = seconds_now();
  const auto tokenizer = Tokenizer::load(path);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.error().text().c_str());
    return 1;
  }
  std::printf("load ms %.0f vocabulary %d\n", (seconds_now() - start) * 1e3,
              (*tokenizer)->vocab_size());
  for (const std::string& file : files) report(**tokenizer, file, read_text(file));
  if (!files.empty()) return 0;
  const std::string english = joined("/usr/share/common-licenses", {""});
  report(**tokenizer, "english", english);
  report(**tokenizer, "code", joined("services", {".cpp", ".h"}));
  report_growth(**tokenizer, english);
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER_JSON [FILE...]\n");
    return 2;
  }
  return fathom::run(argv[1], std::vector<std::string>(argv + 2, argv + argc));
}
