// What does the n-th request of a load test ask for? A pure function of the seed: its prompt, how
// many tokens it wants, and how long after the one before it is sent. Two runs with the same
// options send the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench_serve.h"

namespace fathom {

struct WorkItem {
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;
  std::string body;  // of POST /v1/completions
};

class Workload {
 public:
  // Fails when lengths_file can not be read or holds a line that is not two positive numbers.
  static Result<Workload> make(const BenchServeOptions& options);

  WorkItem item(uint64_t index, const std::string& model) const;
  // Between the moments of requests index - 1 and index of an open loop.
  Duration gap(uint64_t index) const;

 private:
  explicit Workload(const BenchServeOptions& options) : options_(options) {}
  BenchServeOptions options_;
  std::vector<std::pair<int32_t, int32_t>> lengths_;
};

}  // namespace fathom
