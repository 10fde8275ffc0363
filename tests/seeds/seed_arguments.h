// Which seeds does a program that replays go through? Those its command line names: --seed N is one
// seed, --from N and --to N are a range. Words are taken out one kind after the other, so a program
// adds its own, and what nobody took or is no number is for its line of usage.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

namespace fathom {

struct SeedRange {
  uint64_t from = 1, to = 1;  // both inclusive
};

class SeedArguments {
 public:
  SeedArguments(int argc, char** argv) : words_(argv + 1, argv + argc) {}

  // `range` where the command line does not say otherwise. None for a range without seeds.
  std::optional<SeedRange> seeds(SeedRange range) {
    range.from = number("--from").value_or(range.from);
    range.to = number("--to").value_or(range.to);
    if (const auto one = number("--seed")) range = {*one, *one};
    if (range.from > range.to) return std::nullopt;
    return range;
  }

  bool flag(std::string_view name) { return std::erase(words_, name) > 0; }

  // The number behind `name`; what is none stays among the words.
  std::optional<uint64_t> number(std::string_view name) {
    const auto at = std::ranges::find(words_, name);
    if (at == words_.end() || at + 1 == words_.end()) return std::nullopt;
    const std::string_view text = at[1];
    uint64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    words_.erase(at, at + 2);
    return out;
  }

  bool all_taken() const { return words_.empty(); }

 private:
  std::vector<std::string_view> words_;
};

}  // namespace fathom
