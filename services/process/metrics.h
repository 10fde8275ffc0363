// Where are things counted? In one prometheus-cpp registry per process, made by main and passed by
// reference; a process keeps one struct of named instruments (see router/metrics.h and its kind)
// and observes where the event happens. docs/metrics.md lists every name.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>

namespace fathom {

using MetricLabels = std::map<std::string, std::string>;

// From 100 us (a tiny CPU step) to 10 minutes (a long prompt in a queue), about 2.2 buckets a
// doubling.
prometheus::Histogram::BucketBoundaries latency_buckets();
// 1 to 262144, powers of two: tokens, rows, batch sizes.
prometheus::Histogram::BucketBoundaries size_buckets();

class Metrics {
 public:
  Metrics();
  prometheus::Counter& counter(const std::string& name, const std::string& help,
                               const MetricLabels& labels = {});
  prometheus::Gauge& gauge(const std::string& name, const std::string& help,
                           const MetricLabels& labels = {});
  prometheus::Histogram& histogram(const std::string& name, const std::string& help,
                                   const prometheus::Histogram::BucketBoundaries& buckets,
                                   const MetricLabels& labels = {});
  // The whole registry in Prometheus text format, version 0.0.4.
  std::string text() const;

 private:
  std::shared_ptr<prometheus::Registry> registry_;
};

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace fathom
