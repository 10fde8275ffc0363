#include "net/wire_watch.h"

#include <cmath>

#include "net/wire_fields.h"

namespace fathom::wire {
namespace {

constexpr int kMostWorkers = 65'536;
constexpr size_t kTextMax = 4096;

double amount(double value, const char* field, Fields& fields) {
  fields.require(std::isfinite(value) && value >= 0, field, "must be a number, not negative");
  return value;
}

void fill(const Percentiles& from, v1::Percentiles& to) {
  to.set_p50(from.p50);
  to.set_p90(from.p90);
  to.set_p99(from.p99);
  to.set_count(from.count);
}

void fill(const WatchedLatencies& from, v1::WatchedLatencies& to) {
  fill(from.queue, *to.mutable_queue());
  fill(from.first_token, *to.mutable_first_token());
  fill(from.inter_token, *to.mutable_inter_token());
  fill(from.request, *to.mutable_request());
}

void fill(const WatchedSecond& from, v1::WatchedSecond& to) {
  to.set_number(from.number);
  to.set_waiting(from.waiting);
  to.set_running(from.running);
  to.set_moving(from.moving);
  to.set_prefilling(from.prefilling);
  to.set_decoding(from.decoding);
  to.set_blocks(from.blocks);
  to.set_blocks_reserved(from.blocks_reserved);
  to.set_workers_up(from.workers_up);
  to.set_arrived(from.arrived);
  to.set_admitted(from.admitted);
  to.mutable_ended()->Add(from.ended.begin(), from.ended.end());
  to.set_prompt_tokens(from.prompt_tokens);
  to.set_cached_tokens(from.cached_tokens);
  to.set_generated_tokens(from.generated_tokens);
  to.set_moves(from.moves);
  to.set_preemptions(from.preemptions);
  to.set_recoveries(from.recoveries);
  fill(from.latencies, *to.mutable_latencies());
}

void fill(const WatchedWorker& from, v1::WatchedWorker& to) {
  to.set_address(from.address);
  to.set_phase(static_cast<int32_t>(from.phase));
  to.set_phase_seconds(from.phase_seconds);
  to.set_why(from.why);
  to.set_role(static_cast<v1::Role>(from.role));
  to.set_tensor_parallel(from.tensor_parallel);
  for (const WatchedSteps& steps : from.steps) {
    v1::WatchedSteps& entry = *to.add_steps();
    entry.set_count(steps.count);
    entry.set_p50_seconds(steps.p50_seconds);
    entry.set_p99_seconds(steps.p99_seconds);
  }
  to.set_rows(from.rows);
  to.set_rows_max(from.rows_max);
  to.set_prompt_tokens_per_step(from.prompt_tokens_per_step);
  to.set_prompt_tokens_per_second(from.prompt_tokens_per_second);
  to.set_cached_tokens_per_second(from.cached_tokens_per_second);
  to.set_generated_tokens_per_second(from.generated_tokens_per_second);
  to.set_drafted_per_second(from.drafted_per_second);
  to.set_accepted_per_second(from.accepted_per_second);
  to.set_sequences(from.sequences);
  to.set_uncomputed(from.uncomputed);
  to.set_blocks(from.blocks);
  to.set_block_tokens(from.block_tokens);
  to.set_blocks_reserved(from.blocks_reserved);
  to.set_blocks_held(from.blocks_held);
  to.mutable_step_means()->Add(from.step_means.begin(), from.step_means.end());
}

void fill(const ClusterView& from, v1::ClusterView& to) {
  to.set_time(from.time);
  to.set_started(from.started);
  to.set_model(from.model);
  to.set_ready(from.ready);
  to.set_draining(from.draining);
  to.set_gateways(from.gateways);
  to.set_queue_max(from.queue_max);
  fill(from.latencies, *to.mutable_latencies());
  for (const WatchedWorker& worker : from.workers) fill(worker, *to.add_workers());
}

void fill(const Happening& from, v1::Happening& to) {
  to.set_number(from.number);
  to.set_kind(static_cast<int32_t>(from.kind));
  to.set_worker(from.worker);
  to.set_peer(from.peer);
  to.set_text(from.text);
  to.set_count(from.count);
}

Percentiles read(const v1::Percentiles& from, Fields& fields) {
  return {.p50 = amount(from.p50(), "p50", fields),
          .p90 = amount(from.p90(), "p90", fields),
          .p99 = amount(from.p99(), "p99", fields),
          .count = fields.not_negative(from.count(), "count")};
}

WatchedLatencies read(const v1::WatchedLatencies& from, Fields& fields) {
  return {.queue = read(from.queue(), fields),
          .first_token = read(from.first_token(), fields),
          .inter_token = read(from.inter_token(), fields),
          .request = read(from.request(), fields)};
}

WatchedSecond read(const v1::WatchedSecond& from, Fields& fields) {
  WatchedSecond to{
      .number = fields.not_negative(from.number(), "number"),
      .waiting = fields.not_negative(from.waiting(), "waiting"),
      .running = fields.not_negative(from.running(), "running"),
      .moving = fields.not_negative(from.moving(), "moving"),
      .prefilling = fields.not_negative(from.prefilling(), "prefilling"),
      .decoding = fields.not_negative(from.decoding(), "decoding"),
      .blocks = fields.not_negative(from.blocks(), "blocks"),
      .blocks_reserved = fields.not_negative(from.blocks_reserved(), "blocks_reserved"),
      .workers_up = fields.not_negative(from.workers_up(), "workers_up"),
      .arrived = fields.not_negative(from.arrived(), "arrived"),
      .admitted = fields.not_negative(from.admitted(), "admitted")};
  const bool complete = from.ended_size() == static_cast<int>(to.ended.size());
  fields.require(complete, "ended", "must have a count for each outcome");
  for (int i = 0; complete && i < from.ended_size(); ++i)
    to.ended[static_cast<size_t>(i)] = fields.not_negative(from.ended(i), "ended");
  to.prompt_tokens = fields.not_negative(from.prompt_tokens(), "prompt_tokens");
  to.cached_tokens = fields.not_negative(from.cached_tokens(), "cached_tokens");
  to.generated_tokens = fields.not_negative(from.generated_tokens(), "generated_tokens");
  to.moves = fields.not_negative(from.moves(), "moves");
  to.preemptions = fields.not_negative(from.preemptions(), "preemptions");
  to.recoveries = fields.not_negative(from.recoveries(), "recoveries");
  to.latencies = read(from.latencies(), fields);
  return to;
}

WatchedWorker read(const v1::WatchedWorker& from, Fields& fields) {
  WatchedWorker to;
  to.address = from.address();
  fields.require(to.address.size() <= kTextMax, "address", "too long");
  to.phase = static_cast<WorkerPhase>(
      fields.within(from.phase(), 0, static_cast<int32_t>(WorkerPhase::down), "phase"));
  to.phase_seconds = amount(from.phase_seconds(), "phase_seconds", fields);
  to.why = from.why();
  fields.require(to.why.size() <= kTextMax, "why", "too long");
  to.role = static_cast<Role>(
      fields.within(static_cast<int>(from.role()), 0, static_cast<int>(Role::both), "role"));
  to.tensor_parallel = fields.not_negative(from.tensor_parallel(), "tensor_parallel");
  const bool complete = from.steps_size() == static_cast<int>(to.steps.size());
  fields.require(complete, "steps", "must be of three kinds");
  for (int i = 0; complete && i < from.steps_size(); ++i)
    to.steps[static_cast<size_t>(i)] = {
        .count = fields.not_negative(from.steps(i).count(), "steps.count"),
        .p50_seconds = amount(from.steps(i).p50_seconds(), "steps.p50_seconds", fields),
        .p99_seconds = amount(from.steps(i).p99_seconds(), "steps.p99_seconds", fields)};
  to.rows = amount(from.rows(), "rows", fields);
  to.rows_max = fields.not_negative(from.rows_max(), "rows_max");
  to.prompt_tokens_per_step =
      amount(from.prompt_tokens_per_step(), "prompt_tokens_per_step", fields);
  to.prompt_tokens_per_second =
      amount(from.prompt_tokens_per_second(), "prompt_tokens_per_second", fields);
  to.cached_tokens_per_second =
      amount(from.cached_tokens_per_second(), "cached_tokens_per_second", fields);
  to.generated_tokens_per_second =
      amount(from.generated_tokens_per_second(), "generated_tokens_per_second", fields);
  to.drafted_per_second = amount(from.drafted_per_second(), "drafted_per_second", fields);
  to.accepted_per_second = amount(from.accepted_per_second(), "accepted_per_second", fields);
  to.sequences = fields.not_negative(from.sequences(), "sequences");
  to.uncomputed = fields.not_negative(from.uncomputed(), "uncomputed");
  to.blocks = fields.not_negative(from.blocks(), "blocks");
  to.block_tokens = fields.not_negative(from.block_tokens(), "block_tokens");
  to.blocks_reserved = fields.not_negative(from.blocks_reserved(), "blocks_reserved");
  to.blocks_held = fields.not_negative(from.blocks_held(), "blocks_held");
  fields.require(from.step_means_size() <= kWatchedSteps, "step_means", "too many");
  for (const float mean : from.step_means()) amount(mean, "step_means", fields);
  to.step_means = {from.step_means().begin(), from.step_means().end()};
  return to;
}

ClusterView read(const v1::ClusterView& from, Fields& fields) {
  ClusterView to;
  to.time = amount(from.time(), "time", fields);
  to.started = amount(from.started(), "started", fields);
  to.model = from.model();
  to.ready = from.ready();
  to.draining = from.draining();
  to.gateways = fields.not_negative(from.gateways(), "gateways");
  to.queue_max = fields.not_negative(from.queue_max(), "queue_max");
  to.latencies = read(from.latencies(), fields);
  return to;
}

Happening read(const v1::Happening& from, Fields& fields) {
  const auto last = static_cast<int32_t>(kHappeningNames.size()) - 1;
  Happening to{.number = fields.not_negative(from.number(), "number"),
               .kind = static_cast<HappeningKind>(fields.within(from.kind(), 0, last, "kind")),
               .worker = from.worker(),
               .peer = from.peer(),
               .text = from.text(),
               .count = fields.not_negative(from.count(), "count")};
  fields.require(to.worker.size() <= kTextMax, "worker", "too long");
  fields.require(to.peer.size() <= kTextMax, "peer", "too long");
  fields.require(to.text.size() <= kTextMax, "text", "too long");
  return to;
}

// What is said about `from`, which has them in rising order.
template <class Message, class Repeated>
auto read_rising(const Repeated& from, int most, Fields& fields) {
  std::vector<Message> to;
  fields.require(from.size() <= most, "size", "more than a router keeps");
  if (!fields.ok()) return to;
  to.reserve(static_cast<size_t>(from.size()));
  for (const auto& entry : from) {
    to.push_back(read(entry, fields));
    const bool rises = to.size() < 2 || to[to.size() - 2].number < to.back().number;
    fields.require(rises, "number", "must rise");
  }
  return to;
}

}  // namespace

void to_wire(const WatchFrom& from, v1::WatchRequest& to) {
  to.set_protocol(kProtocolVersion);
  to.set_second(from.second);
  to.set_happening(from.happening);
}

Result<WatchFrom> from_wire(const v1::WatchRequest& from) {
  if (from.protocol() != kProtocolVersion)
    return invalid("the watcher speaks protocol " + std::to_string(from.protocol()) +
                       ", this router " + std::to_string(kProtocolVersion),
                   "protocol");
  Fields fields;
  const WatchFrom to{.second = fields.not_negative(from.second(), "second"),
                     .happening = fields.not_negative(from.happening(), "happening")};
  if (!fields.ok()) return fields.error();
  return to;
}

void to_wire(const ClusterUpdate& from, v1::ClusterUpdate& to) {
  fill(from.view, *to.mutable_view());
  for (const WatchedSecond& second : from.seconds) fill(second, *to.add_seconds());
  for (const Happening& happening : from.happenings) fill(happening, *to.add_happenings());
}

Result<ClusterUpdate> from_wire(const v1::ClusterUpdate& from) {
  ClusterUpdate to;
  Fields view, workers, seconds, happenings;
  to.view = read(from.view(), view);
  if (!view.ok()) return view.error("view.");
  workers.require(from.view().workers_size() <= kMostWorkers, "size", "too many");
  if (!workers.ok()) return workers.error("view.workers.");
  for (const v1::WatchedWorker& worker : from.view().workers())
    to.view.workers.push_back(read(worker, workers));
  if (!workers.ok()) return workers.error("view.workers.");
  to.seconds = read_rising<WatchedSecond>(from.seconds(), kWatchedSeconds, seconds);
  if (!seconds.ok()) return seconds.error("seconds.");
  to.happenings = read_rising<Happening>(from.happenings(), kWatchedHappenings, happenings);
  if (!happenings.ok()) return happenings.error("happenings.");
  return to;
}

}  // namespace fathom::wire
