#include "router/worker_watch.h"

#include <algorithm>

namespace fathom {
namespace {

// Overwrites the oldest once there are `most`.
template <class T>
void put(std::vector<T>& ring, size_t& next, size_t most, const T& value) {
  if (ring.size() < most) {
    ring.push_back(value);
  } else {
    ring[next] = value;
    next = (next + 1) % most;
  }
}

// Oldest first.
template <class T>
const T& nth(const std::vector<T>& ring, size_t next, size_t n) {
  return ring[(next + n) % ring.size()];
}

// Nearest rank, of a list that is not empty.
double percentile_seconds(std::vector<uint32_t>& us, size_t percent) {
  const size_t rank = std::max<size_t>(1, (us.size() * percent + 99) / 100);
  const auto place = us.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(us.begin(), place, us.end());
  return static_cast<double>(*place) * 1e-6;
}

uint8_t kind_of(const Report& report) {
  if (report.prefill_tokens == 0) return 1;
  return report.decode_rows == 0 ? 0 : 2;
}

}  // namespace

WorkerWatch::WorkerWatch(std::string address, Instant now)
    : address_(std::move(address)), since_(now), heard_(now) {}

void WorkerWatch::enter(WorkerPhase phase, Instant now) {
  heard_ = now;
  if (phase == phase_) return;
  phase_ = phase;
  since_ = now;
}

void WorkerWatch::up(const Welcome& welcome, Instant now) {
  enter(WorkerPhase::up, now);
  welcome_ = welcome;
  free_blocks_ = welcome.blocks;
  why_.clear();
}

bool WorkerWatch::down(const std::string& why, Instant now) {
  const bool was_there = phase_ == WorkerPhase::up || phase_ == WorkerPhase::draining;
  const bool news = was_there || why != why_;
  enter(was_up() ? WorkerPhase::down : WorkerPhase::connecting, now);
  why_ = why;
  free_blocks_ = welcome_.blocks;
  return news;
}

WorkerWatch::StepCount WorkerWatch::count_of(const Report& report) {
  StepCount count{.prompt = report.prefill_tokens};
  for (const Row& row : report.rows) {
    count.generated += static_cast<int64_t>(row.tokens.size());
    // A worker tells what its cache held before it computes anything, once for each sequence.
    if (row.tokens.empty() && row.cached == row.computed) count.cached += row.cached;
  }
  return count;
}

bool WorkerWatch::step(const Report& report, const StepCount& count, Instant now) {
  heard_ = now;
  free_blocks_ = report.free_blocks;
  running_.tokens.prompt += count.prompt;
  running_.tokens.cached += count.cached;
  running_.tokens.generated += count.generated;
  running_.drafted += report.drafted;
  running_.accepted += report.accepted;
  if (report.step_us > 0) {
    const auto us = static_cast<uint32_t>(std::min<uint64_t>(report.step_us, UINT32_MAX));
    running_.step_us += us;
    running_.rows += static_cast<int64_t>(report.rows.size());
    ++running_.steps;
    running_.prompt_steps += report.prefill_tokens > 0;
    put(steps_, next_step_, kStepsRemembered, {.at = now, .us = us, .kind = kind_of(report)});
  }
  const bool drains = report.draining && phase_ != WorkerPhase::draining;
  enter(report.draining ? WorkerPhase::draining : WorkerPhase::up, now);
  return drains;
}

void WorkerWatch::close_second() {
  put(seconds_, next_second_, kWatchedSteps, running_);
  running_ = {};
}

std::array<WatchedSteps, 3> WorkerWatch::steps(Instant now) const {
  std::array<std::vector<uint32_t>, 3> us;
  const Instant oldest = now - Duration::seconds(kRateSeconds);
  for (const Step& step : steps_)
    if (step.at >= oldest) us[step.kind].push_back(step.us);
  std::array<WatchedSteps, 3> out;
  for (size_t i = 0; i < us.size(); ++i) {
    if (us[i].empty()) continue;
    out[i] = {.count = static_cast<int64_t>(us[i].size()),
              .p50_seconds = percentile_seconds(us[i], 50),
              .p99_seconds = percentile_seconds(us[i], 99)};
  }
  return out;
}

WatchedWorker WorkerWatch::view(Instant now, const WorkerLoad* load) const {
  WatchedWorker out{.address = address_,
                    .phase = phase_,
                    .phase_seconds = (now - since_).to_seconds(),
                    .why = why_,
                    .role = welcome_.role,
                    .tensor_parallel = was_up() ? welcome_.tensor_parallel : 0,
                    .steps = steps(now),
                    .rows_max = load ? load->rows_max : welcome_.rows_max,
                    .blocks = welcome_.blocks,
                    .block_tokens = welcome_.kv.block_tokens,
                    .blocks_held = welcome_.blocks - free_blocks_};
  out.blocks_held = std::max(out.blocks_held, 0);
  if (load) {
    out.sequences = load->sequences;
    out.uncomputed = load->uncomputed;
    out.blocks_reserved = load->blocks_reserved;
  }
  Second sum;
  const size_t recent = std::min<size_t>(seconds_.size(), kRateSeconds);
  for (size_t i = 0; i < seconds_.size(); ++i) {
    const Second& second = nth(seconds_, next_second_, i);
    const double mean_us =
        second.steps == 0 ? 0 : static_cast<double>(second.step_us) / second.steps;
    out.step_means.push_back(static_cast<float>(mean_us * 1e-6));
    if (i + recent < seconds_.size()) continue;
    sum.rows += second.rows;
    sum.steps += second.steps;
    sum.prompt_steps += second.prompt_steps;
    sum.tokens.prompt += second.tokens.prompt;
    sum.tokens.cached += second.tokens.cached;
    sum.tokens.generated += second.tokens.generated;
    sum.drafted += second.drafted;
    sum.accepted += second.accepted;
  }
  const auto per_second = [&](int64_t count) {
    return recent == 0 ? 0 : static_cast<double>(count) / static_cast<double>(recent);
  };
  const auto mean = [](int64_t count, int32_t of) {
    return of == 0 ? 0 : static_cast<double>(count) / of;
  };
  out.rows = mean(sum.rows, sum.steps);
  out.prompt_tokens_per_step = mean(sum.tokens.prompt, sum.prompt_steps);
  out.prompt_tokens_per_second = per_second(sum.tokens.prompt);
  out.cached_tokens_per_second = per_second(sum.tokens.cached);
  out.generated_tokens_per_second = per_second(sum.tokens.generated);
  out.drafted_per_second = per_second(sum.drafted);
  out.accepted_per_second = per_second(sum.accepted);
  return out;
}

}  // namespace fathom
