// How does a cluster behave under load? `fathom bench serve` sends streaming completions of token
// ids, either from so many users who each wait for their answer (closed loop) or at random moments
// of a given rate whatever the cluster does (open loop, Poisson). The same seed gives the same
// prompts, lengths and moments.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "cli/bench_report.h"

namespace fathom {

// A length, or a range from which each request draws: "128" or "64-256".
struct LengthRange {
  int32_t least = 128;
  int32_t most = 128;
};
Result<LengthRange> parse_length(const std::string& text, const std::string& option);

struct BenchServeOptions {
  std::string url = "http://127.0.0.1:8000";
  std::string model;  // empty: the first of /v1/models
  std::string key;    // empty: none is shown
  int32_t concurrency = 8;
  double rate = 0;       // requests per second; 0: closed loop
  int64_t requests = 0;  // 0: until `seconds` are over
  double seconds = 0;
  LengthRange prompt{128, 128};
  LengthRange output{128, 128};
  std::string lengths_file;  // "prompt output" in each line, taken in turn; replaces the ranges
  int32_t vocab = 256;       // prompts are drawn from token ids 3 .. vocab - 1
  uint64_t seed = 0;
  bool progress = false;  // a line on standard error
};

Result<BenchReport> bench_serve(const BenchServeOptions& options, const Clock& clock);

}  // namespace fathom
