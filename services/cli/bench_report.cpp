#include "cli/bench_report.h"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace fathom {
namespace {

std::string row(const char* name, const Samples& samples) {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%-20s %10.3f %10.3f %10.3f %10.3f %10.3f\n", name,
                samples.mean() * 1e3, samples.percentile(50) * 1e3, samples.percentile(90) * 1e3,
                samples.percentile(99) * 1e3, samples.percentile(100) * 1e3);
  return line.data();
}

double per_second(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

boost::json::object summary(const Samples& samples) {
  return {{"count", samples.count()},      {"mean", samples.mean()},
          {"p50", samples.percentile(50)}, {"p90", samples.percentile(90)},
          {"p99", samples.percentile(99)}, {"max", samples.percentile(100)}};
}

}  // namespace

double Samples::mean() const {
  if (values_.empty()) return 0;
  return std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(count());
}

double Samples::percentile(double percent) const {
  if (values_.empty()) return 0;
  if (sorted_ != values_.size()) {
    std::ranges::sort(values_);
    sorted_ = values_.size();
  }
  const double rank = std::ceil(percent / 100 * static_cast<double>(values_.size()));
  return values_[std::min(values_.size(), std::max<size_t>(1, static_cast<size_t>(rank))) - 1];
}

std::string report_table(const BenchReport& report) {
  std::array<char, 512> head{};
  std::snprintf(head.data(), head.size(),
                "model %s, %s: %lld requests in %.2f s, %lld failed, at most %lld at once\n"
                "prompt tokens        %10lld  %10.1f/s\n"
                "generated tokens     %10lld  %10.1f/s\n\n"
                "%-20s %10s %10s %10s %10s %10s\n",
                report.model.c_str(), report.load.c_str(),
                static_cast<long long>(report.requests_ok) + report.requests_failed, report.seconds,
                static_cast<long long>(report.requests_failed),
                static_cast<long long>(report.in_flight_max),
                static_cast<long long>(report.prompt_tokens),
                per_second(report.prompt_tokens, report.seconds),
                static_cast<long long>(report.output_tokens),
                per_second(report.output_tokens, report.seconds), "milliseconds", "mean", "p50",
                "p90", "p99", "max");
  std::string text = head.data() + row("time to first token", report.first_token) +
                     row("inter-token", report.inter_token) + row("end to end", report.end_to_end);
  for (const auto& [message, count] : report.errors)
    text += "error, " + std::to_string(count) + " times: " + message + "\n";
  return text;
}

std::string report_json(const BenchReport& report) {
  boost::json::object errors;
  for (const auto& [message, count] : report.errors) errors[message] = count;
  const boost::json::object root = {
      {"model", report.model},
      {"load", report.load},
      {"seconds", report.seconds},
      {"requests", {{"ok", report.requests_ok}, {"failed", report.requests_failed}}},
      {"errors", errors},
      {"in_flight_max", report.in_flight_max},
      {"prompt_tokens", report.prompt_tokens},
      {"output_tokens", report.output_tokens},
      {"prompt_tokens_per_second", per_second(report.prompt_tokens, report.seconds)},
      {"output_tokens_per_second", per_second(report.output_tokens, report.seconds)},
      {"time_to_first_token_seconds", summary(report.first_token)},
      {"inter_token_seconds", summary(report.inter_token)},
      {"end_to_end_seconds", summary(report.end_to_end)}};
  return boost::json::serialize(root) + "\n";
}

}  // namespace fathom
