// Does a watcher see what is, what was and what happened? Stories told to a real Batcher by hand,
// with time that moves only when the story says so.
#include "router/observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

constexpr int64_t kStart = 1'764'000'000;  // unix seconds

// The brain's part, without its thread: whatever the batcher does is told to the observer.
class Cell {
 public:
  explicit Cell(BatcherConfig config = {}) : stage(config) {}

  WorkerId up(uint32_t id, Role role) {
    const WorkerId worker = stage.up(id, role);
    observer.worker_up(worker, address(id), welcome_of(id, role), stage.now);
    tell();
    return worker;
  }
  void down(WorkerId worker, const std::string& why = "UNAVAILABLE: gone") {
    observer.worker_down(worker, address(worker.value), why, stage.now);
    stage.down(worker);
    tell();
  }
  void submit(const Submit& submit) {
    stage.submit(submit);
    tell();
  }
  void report(WorkerId worker, const Report& report) {
    observer.step(worker, report, stage.now);
    stage.report(worker, report);
    tell();
  }
  void wait(Duration time) {
    stage.now = stage.now + time;
    observer.advance(stage.now, stage.batcher);
    stage.look();
    tell();
  }
  // A step that emits `tokens` one by one for this sequence, each 10 ms after the last.
  void decode(WorkerId worker, SeqId seq, int32_t first, int32_t tokens) {
    for (int32_t i = 0; i < tokens; ++i) {
      wait(Duration::ms(10));
      report(worker, {.step = 1,
                      .step_us = 9000,
                      .decode_rows = 1,
                      .rows = {row_of(seq, first + i, {7})},
                      .free_blocks = 60});
    }
  }
  // The first token of a prompt, after one step over all of it.
  void prefill(WorkerId worker, SeqId seq, int32_t prompt, Finish finish = Finish::none) {
    report(worker, {.step = 1,
                    .step_us = 50'000,
                    .prefill_tokens = prompt,
                    .rows = {row_of(seq, 0, {7}, finish)},
                    .free_blocks = 62});
  }
  ClusterUpdate update(const WatchFrom& from = {}) {
    return observer.update(from, stage.batcher, 1024, stage.now);
  }
  static std::string address(uint32_t id) { return "10.0.0." + std::to_string(id) + ":7100"; }

  Stage stage;
  Observer observer{kStart * 1'000'000'000, Instant{1'000'000'000}};

 private:
  void tell() {
    for (const auto& [gateway, event] : stage.take_events()) {
      const auto* tokens = std::get_if<Tokens>(&event);
      if (tokens) observer.sent(static_cast<int64_t>(tokens->tokens.size()));
    }
    for (const RequestTrace& trace : stage.batcher.take_traces()) observer.ended(trace);
    for (const Incident& incident : stage.batcher.take_incidents()) observer.incident(incident);
  }
};

std::vector<std::string> kinds(const ClusterUpdate& update) {
  std::vector<std::string> out;
  for (const Happening& happening : update.happenings)
    out.emplace_back(kHappeningNames[static_cast<size_t>(happening.kind)]);
  return out;
}

const Happening& only(const ClusterUpdate& update, HappeningKind kind) {
  const auto is = [&](const Happening& happening) { return happening.kind == kind; };
  EXPECT_EQ(std::ranges::count_if(update.happenings, is), 1);
  return *std::ranges::find_if(update.happenings, is);
}

TEST(Observer, a_request_shows_in_its_seconds_and_in_its_worker) {
  Cell cell;
  const WorkerId worker = cell.up(1, Role::both);
  cell.wait(Duration::seconds(1));  // an empty second
  cell.submit(submit_of(1, 32, 11));
  const SeqId seq = cell.stage.only<Prefill>(worker).seq;
  cell.wait(Duration::ms(50));
  cell.prefill(worker, seq, 32);
  cell.decode(worker, seq, 1, 5);
  cell.wait(Duration::seconds(1));
  const ClusterUpdate update = cell.update();
  ASSERT_EQ(update.seconds.size(), 2u);
  EXPECT_EQ(update.seconds[0].number, kStart);
  EXPECT_EQ(update.seconds[0].arrived, 0);
  EXPECT_EQ(update.seconds[0].workers_up, 1);
  const WatchedSecond& second = update.seconds[1];
  EXPECT_EQ(second.arrived, 1);
  EXPECT_EQ(second.admitted, 1);
  EXPECT_EQ(second.running, 1);
  EXPECT_EQ(second.prompt_tokens, 32);
  EXPECT_EQ(second.generated_tokens, 6);
  EXPECT_EQ(second.blocks, 64);
  EXPECT_GT(second.blocks_reserved, 0);
  EXPECT_EQ(second.latencies.first_token.count, 1);
  EXPECT_NEAR(second.latencies.first_token.p50, 0.05, 0.05 / 32);
  EXPECT_EQ(second.latencies.inter_token.count, 5);
  EXPECT_NEAR(second.latencies.inter_token.p99, 0.01, 0.01 / 32);
  ASSERT_EQ(update.view.workers.size(), 1u);
  const WatchedWorker& view = update.view.workers[0];
  EXPECT_EQ(view.address, "10.0.0.1:7100");
  EXPECT_EQ(view.phase, WorkerPhase::up);
  EXPECT_EQ(view.role, Role::both);
  EXPECT_EQ(view.sequences, 1);
  EXPECT_EQ(view.blocks_held, 4);
  EXPECT_EQ(view.steps[0].count, 1);
  EXPECT_DOUBLE_EQ(view.steps[0].p50_seconds, 0.05);
  EXPECT_EQ(view.steps[1].count, 5);
  EXPECT_DOUBLE_EQ(view.steps[1].p99_seconds, 0.009);
  EXPECT_DOUBLE_EQ(view.rows, 1);
  EXPECT_DOUBLE_EQ(view.prompt_tokens_per_step, 32);
  EXPECT_DOUBLE_EQ(view.prompt_tokens_per_second, 16);  // of two seconds so far
  EXPECT_DOUBLE_EQ(view.generated_tokens_per_second, 3);
  ASSERT_EQ(view.step_means.size(), 2u);
  EXPECT_EQ(view.step_means[0], 0);
  EXPECT_NEAR(view.step_means[1], (0.05 + 5 * 0.009) / 6, 1e-6);
}

TEST(Observer, what_is_said_of_the_batcher_is_its_own_account) {
  Cell cell;
  std::vector<WorkerId> workers = {cell.up(1, Role::prefill), cell.up(2, Role::decode),
                                   cell.up(3, Role::both)};
  for (uint64_t id = 1; id <= 20; ++id) cell.submit(submit_of(id, 40, 50));
  cell.wait(Duration::seconds(1));
  const ClusterUpdate update = cell.update();
  const BatcherStats stats = cell.stage.batcher.stats();
  const WatchedSecond& second = update.seconds.back();
  EXPECT_EQ(second.waiting, stats.waiting);
  EXPECT_EQ(second.running, stats.running);
  EXPECT_EQ(second.moving, stats.moving);
  EXPECT_EQ(second.prefilling, second.running);  // no token came yet
  EXPECT_EQ(second.decoding, 0);
  EXPECT_EQ(second.waiting + second.running, 20);
  int64_t reserved = 0, blocks = 0, uncomputed = 0;
  for (const WatchedWorker& worker : update.view.workers) {
    reserved += worker.blocks_reserved;
    blocks += worker.blocks;
    uncomputed += worker.uncomputed;
  }
  EXPECT_EQ(reserved, stats.blocks_reserved);
  EXPECT_EQ(blocks, stats.blocks_capacity);
  EXPECT_EQ(uncomputed, int64_t{40} * stats.running);  // nothing was computed yet
}

TEST(Observer, a_dead_worker_turns_down_and_what_it_lost_is_counted) {
  Cell cell;
  const WorkerId first = cell.up(1, Role::both);
  cell.up(2, Role::both);
  for (uint64_t id = 1; id <= 6; ++id) cell.submit(submit_of(id, 20, 50));
  const auto lost = static_cast<int64_t>(cell.stage.take<Prefill>(first).size());
  ASSERT_GT(lost, 0);
  cell.wait(Duration::seconds(3));
  cell.down(first);
  cell.wait(Duration::seconds(2));
  const ClusterUpdate update = cell.update();
  const WatchedWorker& view = update.view.workers[0];
  EXPECT_EQ(view.phase, WorkerPhase::down);
  EXPECT_DOUBLE_EQ(view.phase_seconds, 2);
  EXPECT_EQ(view.why, "UNAVAILABLE: gone");
  EXPECT_EQ(view.blocks_reserved, 0);
  EXPECT_EQ(view.blocks, 64);  // as last known
  EXPECT_EQ(update.seconds.back().workers_up, 1);
  EXPECT_EQ(update.seconds[3].recoveries, lost);
  EXPECT_EQ(only(update, HappeningKind::worker_down).worker, Cell::address(1));
  const Happening& recovered = only(update, HappeningKind::recovered);
  EXPECT_EQ(recovered.worker, Cell::address(1));
  EXPECT_EQ(recovered.count, lost);
}

TEST(Observer, a_worker_that_is_tried_in_vain_makes_no_noise) {
  Cell cell;
  for (uint32_t tried = 1; tried <= 50; ++tried) {
    cell.observer.worker_down({tried}, Cell::address(1), "UNAVAILABLE: refused", cell.stage.now);
    cell.wait(Duration::seconds(2));
  }
  const ClusterUpdate update = cell.update();
  EXPECT_THAT(kinds(update), testing::ElementsAre("router_started"));
  ASSERT_EQ(update.view.workers.size(), 1u);
  EXPECT_EQ(update.view.workers[0].phase, WorkerPhase::connecting);
  EXPECT_EQ(update.view.workers[0].why, "UNAVAILABLE: refused");
  // Nothing more is heard of it: its address is somebody else's by now.
  cell.wait(Duration::seconds(700));
  cell.wait(Duration::seconds(1));
  EXPECT_TRUE(cell.update().view.workers.empty());
}

TEST(Observer, a_worker_that_does_not_fit_is_said_once) {
  Cell cell;
  for (uint32_t tried = 0; tried < 3; ++tried) {
    cell.observer.worker_refused(Cell::address(1), "model_digest: other weights", cell.stage.now);
    cell.observer.worker_down({tried}, Cell::address(1), "model_digest: other weights",
                              cell.stage.now);
  }
  EXPECT_THAT(kinds(cell.update()), testing::ElementsAre("router_started", "worker_refused"));
}

TEST(Observer, moves_are_told_once_a_second_with_where_they_went) {
  Cell cell;
  const WorkerId prefill = cell.up(1, Role::prefill);
  const WorkerId decode = cell.up(2, Role::decode);
  for (uint64_t id = 1; id <= 3; ++id) cell.submit(submit_of(id, 20, 50));
  for (const Receive& receive : cell.stage.take<Receive>(decode)) {
    cell.prefill(prefill, receive.seq, 20);
    cell.report(decode, {.resident = {receive.seq}});
  }
  cell.wait(Duration::seconds(1));
  const ClusterUpdate update = cell.update();
  const Happening& moved = only(update, HappeningKind::moved);
  EXPECT_EQ(moved.count, 3);
  EXPECT_EQ(moved.worker, Cell::address(2));
  EXPECT_EQ(moved.peer, Cell::address(1));
  EXPECT_EQ(moved.text, "KV of 3 sequences arrived");
  EXPECT_EQ(update.seconds.back().moves, 3);
}

TEST(Observer, a_transfer_that_fails_and_a_full_queue_are_told) {
  Cell cell({.queue_max = 1});
  const WorkerId prefill = cell.up(1, Role::prefill);
  const WorkerId decode = cell.up(2, Role::decode);
  cell.submit(submit_of(1, 20, 50));
  const SeqId seq = cell.stage.only<Receive>(decode).seq;
  cell.report(decode, {.failed = {{seq, {Code::data_loss, "checksum", ""}}}});
  cell.wait(Duration::seconds(1));
  cell.down(prefill);
  for (uint64_t id = 2; id <= 5; ++id) cell.submit(submit_of(id, 20, 50));
  cell.wait(Duration::seconds(1));
  const ClusterUpdate update = cell.update();
  EXPECT_EQ(only(update, HappeningKind::transfer_failed).peer, Cell::address(1));
  // One waits again since it lost its worker, so not one new request may.
  const Happening& refused = only(update, HappeningKind::refused);
  EXPECT_GE(refused.count, 3);
  EXPECT_EQ(update.seconds.back().ended[static_cast<size_t>(Outcome::refused)], refused.count);
}

TEST(Observer, a_watcher_that_comes_again_is_told_only_what_it_lacks) {
  Cell cell;
  cell.up(1, Role::both);
  cell.wait(Duration::seconds(5));
  const ClusterUpdate first = cell.update();
  ASSERT_EQ(first.seconds.size(), 5u);
  const WatchFrom has{.second = first.seconds.back().number,
                      .happening = first.happenings.back().number};
  EXPECT_TRUE(cell.update(has).seconds.empty());
  EXPECT_TRUE(cell.update(has).happenings.empty());
  cell.up(2, Role::both);
  cell.wait(Duration::seconds(2));
  const ClusterUpdate next = cell.update(has);
  EXPECT_EQ(next.seconds.size(), 2u);
  EXPECT_THAT(kinds(next), testing::ElementsAre("worker_up"));
  EXPECT_GT(next.happenings[0].number, has.happening);
}

TEST(Observer, memory_stays_bounded_over_a_long_day) {
  Cell cell;
  for (uint32_t hour = 0; hour < 30; ++hour) {
    for (uint32_t id = 1; id <= 40; ++id) {
      const WorkerId worker{hour * 100 + id};
      cell.observer.worker_up(worker, Cell::address(id), welcome_of(id, Role::both),
                              cell.stage.now);
      cell.observer.worker_down(worker, Cell::address(id), "UNAVAILABLE: gone", cell.stage.now);
    }
    cell.wait(Duration::seconds(3600));  // nobody woke us for an hour
  }
  const ClusterUpdate update = cell.update();
  EXPECT_EQ(update.seconds.size(), static_cast<size_t>(kWatchedSeconds));
  EXPECT_EQ(update.seconds.back().number, kStart + 30 * 3600 - 1);
  for (size_t i = 1; i < update.seconds.size(); ++i)
    ASSERT_EQ(update.seconds[i].number, update.seconds[i - 1].number + 1);
  EXPECT_LE(update.happenings.size(), static_cast<size_t>(kWatchedHappenings));
}

TEST(Observer, many_moves_never_push_out_what_is_rare) {
  Happenings happenings;
  happenings.note(1, {.kind = HappeningKind::worker_down, .worker = "a"});
  for (int64_t second = 1; second <= 5000; ++second) {
    happenings.tally(HappeningKind::moved, "a", "b");
    happenings.close_second(second * 1'000'000);
  }
  const auto kept = happenings.since(0);
  EXPECT_EQ(kept.size(), 1 + Happenings::kMovesKept);
  EXPECT_EQ(kept.front().kind, HappeningKind::worker_down);
}

TEST(Observer, moves_between_many_workers_are_one_line) {
  Happenings happenings;
  for (int i = 0; i < 64; ++i)
    happenings.tally(HappeningKind::moved, "w" + std::to_string(i), "p" + std::to_string(i % 7));
  happenings.close_second(5);
  const auto told = happenings.since(0);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].count, 64);
  EXPECT_EQ(told[0].worker, "");
  EXPECT_EQ(told[0].text, "KV of 64 sequences arrived (64 workers or pairs)");
}

TEST(Observer, a_minute_forgets_what_is_older) {
  Cell cell;
  const WorkerId worker = cell.up(1, Role::both);
  cell.submit(submit_of(1, 16, 1));
  cell.wait(Duration::seconds(2));
  cell.prefill(worker, cell.stage.only<Prefill>(worker).seq, 16, Finish::length);
  EXPECT_NEAR(cell.update().view.latencies.request.p50, 2, 2.0 / 32);
  cell.wait(Duration::seconds(9));
  EXPECT_EQ(cell.update().seconds.back().latencies.request.count, 1);
  cell.wait(Duration::seconds(50));
  EXPECT_EQ(cell.update().seconds.back().latencies.request.count, 0);
  EXPECT_EQ(cell.update().view.latencies.request.count, 1);
  cell.wait(Duration::seconds(2));
  EXPECT_EQ(cell.update().view.latencies.request.count, 0);
}

}  // namespace
}  // namespace fathom
