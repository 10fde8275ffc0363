#include "gateway/cluster_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "gateway/json_text.h"

namespace fathom {
namespace {

constexpr size_t kRateSeconds = 10;
constexpr std::array<const char*, 4> kPhaseNames = {"connecting", "up", "draining", "down"};
constexpr std::array<const char*, 3> kRoleNames = {"prefill", "decode", "both"};
constexpr std::array<const char*, 3> kStepNames = {"prefill", "decode", "mixed"};
constexpr std::array<const char*, 4> kLatencyNames = {"queue", "first_token", "inter_token",
                                                      "request"};

// Writes the members of one object; the commas are its own.
class Object {
 public:
  explicit Object(std::string& out) : out_(out) { out_ += '{'; }
  ~Object() { out_ += '}'; }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  std::string& key(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    append_json(out_, name);
    out_ += ':';
    return out_;
  }
  void text(std::string_view name, std::string_view value) { append_any_text(key(name), value); }
  void flag(std::string_view name, bool value) { key(name) += value ? "true" : "false"; }
  void whole(std::string_view name, int64_t value) { append_json(key(name), value); }
  void time(std::string_view name, double unix_seconds) { append_time(key(name), unix_seconds); }
  void number(std::string_view name, double value);

 private:
  std::string& out_;
  bool first_ = true;
};

// Six digits: more than any of these quantities has.
void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) value = 0;
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                 std::chars_format::general, 6)
                       .ptr;
  out.append(digits.data(), end);
}

void Object::number(std::string_view name, double value) { append_number(key(name), value); }

std::array<const Percentiles*, 4> each(const WatchedLatencies& latencies) {
  return {&latencies.queue, &latencies.first_token, &latencies.inter_token, &latencies.request};
}

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

// What the last seconds add up to.
struct Rates {
  explicit Rates(const std::deque<WatchedSecond>& seconds) {
    const size_t count = std::min(seconds.size(), kRateSeconds);
    over = std::max<double>(1, static_cast<double>(count));
    for (size_t i = seconds.size() - count; i < seconds.size(); ++i) {
      const WatchedSecond& second = seconds[i];
      arrived += second.arrived;
      admitted += second.admitted;
      prompt += second.prompt_tokens;
      cached += second.cached_tokens;
      generated += second.generated_tokens;
      moves += second.moves;
      for (size_t k = 0; k < ended.size(); ++k) ended[k] += second.ended[k];
    }
  }
  double of(int64_t count) const { return static_cast<double>(count) / over; }

  double over = 1;
  int64_t arrived = 0, admitted = 0, prompt = 0, cached = 0, generated = 0, moves = 0;
  std::array<int64_t, kOutcomeNames.size()> ended{};
};

void append_requests(std::string& out, const ClusterView& view, const WatchedSecond& now,
                     const Rates& rates) {
  Object requests(out);
  requests.whole("waiting", now.waiting);
  requests.whole("waiting_max", view.queue_max);
  requests.whole("running", now.running);
  requests.whole("moving", now.moving);
  requests.whole("prefilling", now.prefilling);
  requests.whole("decoding", now.decoding);
  requests.number("arrived_per_second", rates.of(rates.arrived));
  requests.number("admitted_per_second", rates.of(rates.admitted));
  requests.number("moved_per_second", rates.of(rates.moves));
  Object ended(requests.key("ended_per_second"));
  for (size_t i = 0; i < kOutcomeNames.size(); ++i)
    ended.number(kOutcomeNames[i], rates.of(rates.ended[i]));
}

void append_tokens(std::string& out, const Rates& rates) {
  Object tokens(out);
  tokens.number("prompt_per_second", rates.of(rates.prompt));
  tokens.number("cached_per_second", rates.of(rates.cached));
  tokens.number("generated_per_second", rates.of(rates.generated));
  tokens.number("cached_share", share(static_cast<double>(rates.cached),
                                      static_cast<double>(rates.cached + rates.prompt)));
}

void append_kv(std::string& out, const ClusterView& view) {
  int64_t blocks = 0, reserved = 0, held = 0;
  for (const WatchedWorker& worker : view.workers) {
    if (worker.phase != WorkerPhase::up && worker.phase != WorkerPhase::draining) continue;
    blocks += worker.blocks;
    reserved += worker.blocks_reserved;
    held += worker.blocks_held;
  }
  Object kv(out);
  kv.whole("blocks", blocks);
  kv.whole("blocks_reserved", reserved);
  kv.whole("blocks_held", held);
}

void append_latency(std::string& out, const WatchedLatencies& latencies) {
  Object latency(out);
  const auto all = each(latencies);
  for (size_t i = 0; i < all.size(); ++i) {
    Object one(latency.key(kLatencyNames[i]));
    one.whole("count", all[i]->count);
    one.number("p50_seconds", all[i]->p50);
    one.number("p90_seconds", all[i]->p90);
    one.number("p99_seconds", all[i]->p99);
  }
}

void append_worker(std::string& out, const WatchedWorker& worker, bool past) {
  Object object(out);
  object.text("address", worker.address);
  object.text("role", kRoleNames[static_cast<size_t>(worker.role)]);
  object.text("state", kPhaseNames[static_cast<size_t>(worker.phase)]);
  object.number("state_seconds", worker.phase_seconds);
  object.text("why", worker.why);
  object.whole("tensor_parallel", worker.tensor_parallel);
  {
    Object steps(object.key("steps"));
    for (size_t i = 0; i < worker.steps.size(); ++i) {
      Object kind(steps.key(kStepNames[i]));
      kind.whole("count", worker.steps[i].count);
      kind.number("p50_seconds", worker.steps[i].p50_seconds);
      kind.number("p99_seconds", worker.steps[i].p99_seconds);
    }
  }
  std::string& means = object.key("step_mean_seconds");
  means += '[';
  const size_t first = past || worker.step_means.empty() ? 0 : worker.step_means.size() - 1;
  for (size_t i = first; i < worker.step_means.size(); ++i) {
    if (i > first) means += ',';
    if (worker.step_means[i] > 0) {
      append_number(means, static_cast<double>(worker.step_means[i]));
    } else {
      means += "null";
    }
  }
  means += ']';
  object.number("rows", worker.rows);
  object.whole("rows_max", worker.rows_max);
  object.number("prompt_tokens_per_step", worker.prompt_tokens_per_step);
  object.number("prompt_tokens_per_second", worker.prompt_tokens_per_second);
  object.number("cached_tokens_per_second", worker.cached_tokens_per_second);
  object.number("generated_tokens_per_second", worker.generated_tokens_per_second);
  object.number("cached_share",
                share(worker.cached_tokens_per_second,
                      worker.cached_tokens_per_second + worker.prompt_tokens_per_second));
  if (worker.drafted_per_second > 0) {
    object.number("draft_acceptance", worker.accepted_per_second / worker.drafted_per_second);
  } else {
    object.key("draft_acceptance") += "null";
  }
  object.whole("sequences", worker.sequences);
  object.whole("uncomputed_tokens", worker.uncomputed);
  object.whole("block_tokens", worker.block_tokens);
  object.whole("blocks", worker.blocks);
  object.whole("blocks_reserved", worker.blocks_reserved);
  object.whole("blocks_held", worker.blocks_held);
}

// One list of the history: `append` writes the value of a second.
template <class Append>
void column(Object& history, std::string_view name, std::span<const WatchedSecond* const> seconds,
            Append append) {
  std::string& out = history.key(name);
  out += '[';
  for (size_t i = 0; i < seconds.size(); ++i) {
    if (i > 0) out += ',';
    append(out, *seconds[i]);
  }
  out += ']';
}

void latency_columns(Object& history, std::span<const WatchedSecond* const> seconds) {
  struct Rank {
    const char* name;
    double Percentiles::*value;
  };
  static constexpr std::array<Rank, 3> kRanks = {{{"_p50_seconds", &Percentiles::p50},
                                                  {"_p90_seconds", &Percentiles::p90},
                                                  {"_p99_seconds", &Percentiles::p99}}};
  for (size_t i = 0; i < kLatencyNames.size(); ++i)
    for (const Rank& rank : kRanks)
      column(history, std::string(kLatencyNames[i]) + rank.name, seconds,
             [&](std::string& out, const WatchedSecond& second) {
               const Percentiles& percentiles = *each(second.latencies)[i];
               if (percentiles.count == 0) {
                 out += "null";
               } else {
                 append_number(out, percentiles.*rank.value);
               }
             });
}

}  // namespace

void append_time(std::string& out, double unix_seconds) {
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(),
                                 std::clamp(unix_seconds, 0.0, 1e12), std::chars_format::fixed, 3)
                       .ptr;
  out.append(digits.data(), end);
}

void append_any_text(std::string& out, std::string_view bytes) {
  if (is_utf8(bytes)) return append_json(out, bytes);
  std::string plain(bytes);
  for (char& c : plain)
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  append_json(out, plain);
}

void append_cluster_view(std::string& out, const ClusterView& view,
                         const std::deque<WatchedSecond>& seconds, bool past) {
  const WatchedSecond now = seconds.empty() ? WatchedSecond{} : seconds.back();
  const Rates rates(seconds);
  Object object(out);
  object.time("time", view.time);
  object.time("router_started", view.started);
  object.text("model", view.model);
  object.flag("ready", view.ready);
  object.flag("draining", view.draining);
  object.whole("gateways", view.gateways);
  append_requests(object.key("requests"), view, now, rates);
  append_tokens(object.key("tokens"), rates);
  append_kv(object.key("kv"), view);
  append_latency(object.key("latency"), view.latencies);
  std::string& workers = object.key("workers");
  workers += '[';
  for (size_t i = 0; i < view.workers.size(); ++i) {
    if (i > 0) workers += ',';
    append_worker(workers, view.workers[i], past);
  }
  workers += ']';
}

void append_cluster_history(std::string& out, const std::deque<WatchedSecond>& seconds,
                            int64_t after) {
  std::vector<const WatchedSecond*> chosen;
  for (const WatchedSecond& second : seconds)
    if (second.number > after) chosen.push_back(&second);
  Object history(out);
  const auto whole = [&](std::string_view name, auto value) {
    column(history, name, chosen, [&](std::string& to, const WatchedSecond& second) {
      append_json(to, static_cast<int64_t>(value(second)));
    });
  };
  using S = const WatchedSecond&;
  whole("time", [](S s) { return s.number; });
  whole("waiting", [](S s) { return s.waiting; });
  whole("running", [](S s) { return s.running; });
  whole("moving", [](S s) { return s.moving; });
  whole("prefilling", [](S s) { return s.prefilling; });
  whole("decoding", [](S s) { return s.decoding; });
  whole("workers_up", [](S s) { return s.workers_up; });
  whole("blocks", [](S s) { return s.blocks; });
  whole("blocks_reserved", [](S s) { return s.blocks_reserved; });
  whole("arrived", [](S s) { return s.arrived; });
  whole("admitted", [](S s) { return s.admitted; });
  for (size_t i = 0; i < kOutcomeNames.size(); ++i)
    whole("ended_" + std::string(kOutcomeNames[i]), [i](S s) { return s.ended[i]; });
  whole("prompt_tokens", [](S s) { return s.prompt_tokens; });
  whole("cached_tokens", [](S s) { return s.cached_tokens; });
  whole("generated_tokens", [](S s) { return s.generated_tokens; });
  whole("moves", [](S s) { return s.moves; });
  whole("preemptions", [](S s) { return s.preemptions; });
  whole("recoveries", [](S s) { return s.recoveries; });
  latency_columns(history, chosen);
}

void append_happening(std::string& out, const Happening& happening) {
  Object object(out);
  object.whole("number", happening.number);
  object.time("time", static_cast<double>(happening.number) * 1e-6);
  object.text("kind", kHappeningNames[static_cast<size_t>(happening.kind)]);
  object.text("worker", happening.worker);
  object.text("peer", happening.peer);
  object.text("text", happening.text);
  object.whole("count", happening.count);
}

}  // namespace fathom
