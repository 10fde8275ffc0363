// How fast was it? Latencies of a load test as percentiles, and the whole result as a table for
// people and as JSON for the next program. Percentiles are exact (nearest rank): every sample is
// kept.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fathom {

// Samples in seconds.
class Samples {
 public:
  void add(double seconds) { values_.push_back(seconds); }
  void add(double seconds, size_t times) { values_.insert(values_.end(), times, seconds); }
  size_t count() const { return values_.size(); }
  double mean() const;
  // The smallest sample that at least `percent` of all do not exceed; 0 when there is none.
  double percentile(double percent) const;

 private:
  mutable std::vector<double> values_;
  mutable size_t sorted_ = 0;  // values_[0 .. sorted_) are in order
};

struct BenchReport {
  std::string model;
  std::string load;  // "concurrency 8", "rate 2.5/s"
  int64_t requests_ok = 0;
  int64_t requests_failed = 0;
  std::map<std::string, int64_t> errors;  // message to count
  int64_t in_flight_max = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  double seconds = 0;
  Samples first_token;
  Samples inter_token;  // time between two events, spread evenly over the tokens of the second
  Samples end_to_end;
};

std::string report_table(const BenchReport& report);
std::string report_json(const BenchReport& report);

}  // namespace fathom
