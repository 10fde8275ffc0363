// Does a fuzzed entry point survive its seeds and their mutations, in an ordinary test run? Every
// seed, every prefix of a short one, and a fixed number of mutations, the same in every run. An
// input that makes it abort is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kLargestInput = 64 << 10;
constexpr size_t kPrefixesOf = 512;  // seeds up to this size are also tried cut off at every byte

// The input being tried, for the report of an abort.
const std::string* current_input = nullptr;

void print_input(int) {
  std::fprintf(stderr, "\nthe input that failed, escaped:\n");
  for (const char c : *current_input) {
    if (c >= ' ' && c <= '~' && c != '\\')
      std::fputc(c, stderr);
    else
      std::fprintf(stderr, "\\x%02x", static_cast<unsigned char>(c));
  }
  std::fprintf(stderr, "\n");
}

void try_input(const std::string& input) {
  current_input = &input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// SplitMix64: the same inputs on every machine.
class Random {
 public:
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
  }
  size_t below(size_t limit) { return limit == 0 ? 0 : next() % limit; }

 private:
  uint64_t state_ = 1;
};

std::vector<std::string> seeds() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(FATHOM_SOURCE_DIR "/tests/fuzz/seeds/" FATHOM_FUZZ_NAME))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> texts;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return texts;
}

void mutate(std::string& input, const std::vector<std::string>& all, Random& random) {
  const size_t at = random.below(input.size() + 1);
  const size_t length = 1 + random.below(std::min<size_t>(16, input.size() + 1));
  const std::string& other = all[random.below(all.size())];
  static constexpr char kTelling[] = {'\0', '\xff', '\x80', '\n', '"', '{',
                                      '}',  '[',    '<',    '-',  '9', '\xf4'};
  switch (random.below(7)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random.below(8)));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random.next());
      break;
    case 2:
      input.insert(at, 1, kTelling[random.below(sizeof(kTelling))]);
      break;
    case 3:
      input.erase(at, length);
      break;
    case 4:
      input.insert(at, input.substr(random.below(input.size() + 1), length));
      break;
    case 5:
      input.insert(at, other.substr(random.below(other.size() + 1), length * 4));
      break;
    default:
      input = input.substr(0, at) + other.substr(random.below(other.size() + 1));
  }
  if (input.size() > kLargestInput) input.resize(kLargestInput);
}

TEST(fuzz_replay, seeds_and_their_mutations_hold_what_the_entry_point_checks) {
  const std::vector<std::string> all = seeds();
  ASSERT_FALSE(all.empty()) << "no seeds in tests/fuzz/seeds/" FATHOM_FUZZ_NAME;
  std::signal(SIGABRT, print_input);
  try_input("");
  for (const std::string& seed : all) {
    try_input(seed);
    if (seed.size() <= kPrefixesOf)
      for (size_t size = 1; size < seed.size(); ++size) try_input(seed.substr(0, size));
  }
  Random random;
  for (int i = 0; i < FATHOM_FUZZ_MUTATIONS; ++i) {
    std::string input = all[random.below(all.size())];
    for (size_t steps = 1 + random.below(8); steps > 0; --steps) mutate(input, all, random);
    try_input(input);
  }
  std::signal(SIGABRT, SIG_DFL);
}

}  // namespace
