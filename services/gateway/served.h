// What do all surfaces of one gateway stand on? The model, the router behind it, and the state of
// the process; HTTP and gRPC ask the same questions here and get the same answers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "gateway/admission.h"
#include "gateway/config.h"
#include "gateway/dispatch.h"
#include "gateway/encode.h"
#include "gateway/generation.h"
#include "gateway/openai_parse.h"

namespace fathom {

// Who runs a request, and where.
struct Run {
  int thread = 0;
  std::string trace;  // the request id, for logs
  Instant received;
  const KeyUse* use = nullptr;    // whose tokens are counted; null: nobody's
  Duration time_left{INT64_MAX};  // what the client said; the config's bound holds as well
};

class Served {
 public:
  Served(const GatewayConfig& config, ServedModel model, HttpThreads& threads, const Clock& clock,
         GatewayMetrics& metrics, Dispatch& dispatch, const Admission& admission, uint64_t seed);

  const GatewayConfig& config() const { return config_; }
  const ServedModel& model() const { return model_; }
  const Clock& clock() const { return clock_; }
  GatewayMetrics& metrics() const { return metrics_; }
  const Dispatch& dispatch() const { return dispatch_; }
  const Admission& admission() const { return admission_; }

  std::string model_name() const;  // empty until the router named one, if the config does not
  int32_t vocab() const;           // 0: not known
  int32_t context_max() const;
  std::string fingerprint() const;
  std::string not_ready() const;  // empty: requests are taken
  void drain() { draining_ = true; }
  bool wait_idle(Duration patience);            // true once no request runs
  int64_t started() const { return started_; }  // unix seconds

  ParseLimits parse_limits() const;
  // No model or one of ours; otherwise the refusal.
  std::optional<ApiError> check_model(const std::string& name, bool required) const;
  std::optional<ApiError> check_ready() const;
  ApiError refusal(const Error& error) const;

  // Encodes and runs a request; on loop `where.thread`. A refusal before anything was submitted is
  // returned and `make_answer` was not called.
  std::optional<ApiError> run(Run where, Generate request,
                              const Generation::MakeAnswer& make_answer,
                              std::function<void(int)> ended, std::shared_ptr<Generation>& out);
  AnswerHead next_head(Surface surface);

 private:
  uint64_t next_random();
  void count_running(int change);

  const GatewayConfig config_;
  const ServedModel model_;
  HttpThreads& threads_;
  const Clock& clock_;
  GatewayMetrics& metrics_;
  Dispatch& dispatch_;
  const Admission& admission_;
  const uint64_t seed_;
  std::atomic<uint64_t> drawn_{0};
  const int64_t started_;
  std::mutex running_mutex_;
  std::condition_variable idle_;
  int running_ = 0;
  std::atomic<bool> draining_{false};
};

}  // namespace fathom
