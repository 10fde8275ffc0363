// What did the person ask `fathom up` for? The words of its command line, and the check that they
// can be done, before anything starts. Each refusal names the option.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace fathom {

struct UpOptions {
  std::string model;  // folder of a checkpoint; empty: the one that ships with the project
  // Workers by role; -1: one each, or none when `both` is given. With none given at all a machine
  // of one GPU gets one of `both`.
  int32_t prefill = -1;
  int32_t decode = -1;
  int32_t both = 0;
  // -1: two, or one where the model can not be divided, or computes on GPUs or under fp8.
  int32_t tensor_parallel = -1;
  int32_t expert_parallel = 1;  // ranks of each worker process that divide its experts alone
  std::string compute = "auto";
  bool speculative = false;  // the model's multi-token-prediction module guesses ahead
  bool prefix_cache = true;
  std::string kv_dtype = "auto";
  std::string device = "auto";
  int32_t port = 8000;
  std::string host = "127.0.0.1";  // where the gateway listens
  std::string keys;                // file of API keys; empty: everybody may ask
  std::string price_input = "0";   // per million tokens, as the gateway's settings
  std::string price_cached_input = "0";
  std::string price_output = "0";
  std::string currency = "USD";
  bool detach = false;
  bool question = true;
  std::string run_dir;  // settings and logs; empty: under the system's folder for temporary files
  double ready_seconds = 600;
  double drain_seconds = 30;
  std::string engine = "model";  // "fake": no model, for tests of the services
  bool shipped_model = false;    // set by settle_up_options
  int32_t gpus = 0;              // that workers use; set by settle_up_options
};

// Fills in what was left out and checks the rest.
Result<UpOptions> settle_up_options(UpOptions options);

// The command line that gives these options again.
std::vector<std::string> up_arguments(const UpOptions& options);

// Where a cluster at this port keeps its files when nobody says otherwise: one folder per user and
// port.
std::string default_run_dir(int32_t port);

}  // namespace fathom
