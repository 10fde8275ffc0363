#include "gateway/served.h"

#include <algorithm>
#include <chrono>

#include "base/philox.h"
#include "base/version.h"

namespace fathom {
namespace {

std::string hex(uint64_t value, int digits) {
  std::string out;
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
    out += "0123456789abcdef"[(value >> shift) & 15];
  return out;
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

Served::Served(const GatewayConfig& config, ServedModel model, HttpThreads& threads,
               const Clock& clock, GatewayMetrics& metrics, Dispatch& dispatch,
               const Admission& admission, uint64_t seed)
    : config_(config),
      model_(std::move(model)),
      threads_(threads),
      clock_(clock),
      metrics_(metrics),
      dispatch_(dispatch),
      admission_(admission),
      seed_(seed),
      started_(clock.unix_seconds()) {}

void Served::count_running(int change) {
  const std::lock_guard lock(running_mutex_);
  running_ += change;
  if (running_ == 0) idle_.notify_all();
}

bool Served::wait_idle(Duration patience) {
  std::unique_lock lock(running_mutex_);
  return idle_.wait_for(lock, std::chrono::nanoseconds(patience.ns),
                        [this] { return running_ == 0; });
}

uint64_t Served::next_random() { return philox_seed(seed_, drawn_++); }

std::string Served::model_name() const {
  return config_.model.empty() ? dispatch_.cluster().model : config_.model;
}

int32_t Served::vocab() const {
  const int32_t cluster = dispatch_.cluster().vocab;
  return cluster > 0 ? cluster : model_.vocab;
}

int32_t Served::context_max() const {
  const int32_t cluster = dispatch_.cluster().context_max;
  return cluster > 0 ? cluster : model_.context_max;
}

std::string Served::fingerprint() const {
  const ClusterState state = dispatch_.cluster();
  return "fp_" + hex(fnv1a(std::string(kVersion) + "/" + state.model_digest), 10);
}

std::string Served::not_ready() const {
  if (draining_) return "the gateway is draining";
  if (!dispatch_.connected()) return "the router is not connected";
  const ClusterState state = dispatch_.cluster();
  if (!state.ready)
    return "the router waits for workers (prefill " + std::to_string(state.prefill_workers) +
           ", decode " + std::to_string(state.decode_workers) + ")";
  if (model_.tokenizer && state.vocab > 0 && model_.tokenizer->vocab_size() > state.vocab)
    return "the tokenizer has " + std::to_string(model_.tokenizer->vocab_size()) +
           " tokens but the workers' model only " + std::to_string(state.vocab);
  return {};
}

ParseLimits Served::parse_limits() const {
  return {.n_max = config_.n_max,
          .prompts_max = config_.prompts_max,
          .max_tokens_max = config_.max_tokens_max,
          .vocab = vocab(),
          .temperature_default = static_cast<float>(config_.temperature_default),
          .top_p_default = static_cast<float>(config_.top_p_default)};
}

std::optional<ApiError> Served::check_model(const std::string& name, bool required) const {
  if (name.empty() && !required) return std::nullopt;
  const std::string ours = model_name();
  if (!ours.empty() && name == ours) return std::nullopt;
  const auto& aliases = config_.model_aliases;
  if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return std::nullopt;
  if (ours.empty()) return check_ready();
  return not_found("The model '" + name.substr(0, 200) + "' does not exist.", "model_not_found",
                   "model");
}

std::optional<ApiError> Served::check_ready() const {
  if (not_ready().empty()) return std::nullopt;
  return refusal({Code::unavailable, "not ready", ""});
}

ApiError Served::refusal(const Error& error) const {
  return api_error(error, {}, config_.retry_after_seconds);
}

AnswerHead Served::next_head(Surface surface) {
  return {.id = (surface == Surface::chat ? "chatcmpl-" : "cmpl-") + hex(next_random(), 16) +
                hex(next_random(), 8),
          .created = clock_.unix_seconds(),
          .fingerprint = fingerprint()};
}

std::optional<ApiError> Served::run(Run where, Generate request,
                                    const Generation::MakeAnswer& make_answer,
                                    std::function<void(int)> ended,
                                    std::shared_ptr<Generation>& out) {
  if (auto error = check_model(request.model, true)) return error;
  if (auto error = check_ready()) return error;
  const EncodeLimits limits{.context_max = context_max(),
                            .vocab = vocab(),
                            .max_tokens_default = config_.max_tokens_default,
                            .unix_seconds = clock_.unix_seconds()};
  if (auto error = encode(model_, limits, next_random(), request)) return error;
  if (request.choices() > config_.pending_max - dispatch_.pending())
    return refusal({Code::resource_exhausted, "too many requests in flight", ""});
  const bool stream = request.stream;
  const GenerationTimes times{
      .commit =
          Duration::seconds(stream ? config_.stream_commit_seconds : config_.whole_commit_seconds),
      .keep_alive = Duration::seconds(config_.keep_alive_seconds),
      .start_max = Duration::seconds(config_.start_seconds_max),
      .request_max = std::min(Duration::seconds(config_.request_seconds_max), where.time_left),
      .retry_after_seconds = config_.retry_after_seconds};
  const GenerationParts parts{dispatch_, threads_, clock_, metrics_, model_, where.use};
  count_running(1);
  out =
      Generation::start(parts, times, where.thread, std::move(request), std::move(where.trace),
                        where.received, make_answer, [this, ended = std::move(ended)](int status) {
                          if (ended) ended(status);
                          count_running(-1);
                        });
  return std::nullopt;
}

}  // namespace fathom
