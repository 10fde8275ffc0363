// How do tests drive a worker without threads or sockets? A Node is a loop over a fake engine whose
// reports are kept; a Wire hands blocks from one node to another in memory, and can damage, hold
// back or cut a transfer. Each turn() of a node is one step boundary and one step, so a story is a
// sequence of edits and turns.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/fake_engine.h"
#include "worker/loop.h"

namespace fathom::stage {

// Hands calls through to a fake engine; stories override what they need to see or to break.
class EngineShell : public Engine {
 public:
  explicit EngineShell(std::unique_ptr<Engine> inner) : inner_(std::move(inner)) {}
  const EngineInfo& info() const override { return inner_->info(); }
  Status begin(const Plan& plan) override {
    if (on_step) on_step(plan);
    if (broken) return Error{Code::unavailable, "rank 1 is gone", "group"};
    return inner_->begin(plan);
  }
  Result<StepResult> finish() override {
    if (broken) return Error{Code::unavailable, "rank 1 is gone", "group"};
    Result<StepResult> result = inner_->finish();
    if (after_step && result.ok()) after_step(*result);
    return result;
  }
  Status export_block(BlockIndex block, std::span<std::byte> out) const override {
    if (on_export) on_export();
    return inner_->export_block(block, out);
  }
  Status import_block(BlockIndex block, std::span<const std::byte> in) override {
    return inner_->import_block(block, in);
  }

  std::function<void(const Plan&)> on_step;
  std::function<void(StepResult&)> after_step;
  std::function<void()> on_export;
  bool broken = false;

 private:
  std::unique_ptr<Engine> inner_;
};

// Fetches from BlockSources in this process, on the thread that says `ready`.
class Wire final : public Fetcher {
 public:
  std::map<std::string, BlockSource*> peers;
  Error damage{Code::ok, {}, {}};  // not ok: how the next fetch ends instead of delivering block 0
  bool hold = false;               // deliver nothing until release()
  int calls = 0;

  std::unique_ptr<FetchCall> fetch(const Ticket& ticket, int32_t,
                                   std::function<void(int32_t, std::span<const std::byte>)> block,
                                   std::function<void(Status)> done) override {
    ++calls;
    auto call = std::make_shared<Call>();
    call->block = std::move(block);
    call->done = std::move(done);
    call->seq = ticket.seq;
    call->source = peers.at(ticket.address);
    live_.push_back(call);
    call->watch = call->source->watch(
        ticket, tokens_asked(ticket),
        {.ready = [this, call](int32_t complete, bool all) { ready(*call, complete, all); },
         .gone = [this, call](Error why) { end(*call, why); }});
    return std::make_unique<Handle>(call);
  }
  void release() {
    hold = false;
    for (const auto& call : live_) ready(*call, call->complete, call->all);
  }
  // What the story's Receive asks for; set beside the edit.
  int32_t tokens = 0;

 private:
  struct Call {
    std::function<void(int32_t, std::span<const std::byte>)> block;
    std::function<void(Status)> done;
    SeqId seq;
    BlockSource* source = nullptr;
    std::shared_ptr<void> watch;
    int32_t complete = 0, sent = 0;
    bool all = false, ended = false;
  };
  struct Handle final : FetchCall {
    explicit Handle(std::shared_ptr<Call> c) : call(std::move(c)) {}
    ~Handle() override {
      call->ended = true;
      call->watch.reset();
    }
    std::shared_ptr<Call> call;
  };

  int32_t tokens_asked(const Ticket&) const { return tokens; }
  void end(Call& call, Status status) {
    if (std::exchange(call.ended, true)) return;
    call.done(std::move(status));
  }
  void ready(Call& call, int32_t complete, bool all) {
    call.complete = complete;
    call.all = all;
    while (!hold && !call.ended && call.sent < call.complete) {
      if (damage.code != Code::ok) return end(call, std::exchange(damage, Error{Code::ok, {}, {}}));
      std::vector<std::byte> bytes(static_cast<size_t>(call.source->block_bytes()));
      if (!call.source->copy(call.seq, call.sent, bytes))
        return end(call, Error{Code::unavailable, "dropped while it was read", "seq"});
      call.block(call.sent++, bytes);
    }
    if (!hold && call.all && call.sent == call.complete) end(call, {});
  }

  std::vector<std::shared_ptr<Call>> live_;
};

inline FakeEngineConfig small_engine(bool steps_ahead = false) {
  return {.blocks = 64,
          .block_tokens = 4,
          .context_max = 200,
          .vocab = 300,
          .steps_ahead = steps_ahead};
}

struct Node {
  explicit Node(Wire& wire, LoopConfig config = {}, FakeEngineConfig engine_config = small_engine())
      : Node(wire, std::move(config), make_fake_engine(engine_config)) {
    fake = engine_config;
  }
  Node(Wire& wire, LoopConfig config, std::unique_ptr<Engine> any_engine)
      : engine(std::move(any_engine)),
        metrics(registry),
        loop(engine, wire, clock, with_defaults(std::move(config)), metrics,
             [this](Report report) { reports.push_back(std::move(report)); }) {}

  static LoopConfig with_defaults(LoopConfig config) {
    if (config.instance == 0) config.instance = 77;
    config.model = "story";
    return config;
  }
  void say(Edits edits) { loop.on_edits(std::move(edits)); }
  // Turns until there is nothing to do; the bound is far above what any story needs.
  void settle() {
    for (int i = 0; i < 2000; ++i)
      if (!loop.turn()) return;
    FAIL() << "the loop does not come to rest";
  }
  // How a story ends: the router leaves, whatever ran is dropped, all blocks come back.
  void end() {
    loop.on_router_gone();
    settle();
    EXPECT_EQ(free_blocks(), engine.info().blocks) << "all blocks come back";
    EXPECT_EQ(leaked(), 0);
  }
  std::vector<TokenId> tokens_of(SeqId seq) const {
    std::vector<TokenId> out;
    for (const Report& report : reports)
      for (const Row& row : report.rows)
        if (row.seq == seq) out.insert(out.end(), row.tokens.begin(), row.tokens.end());
    return out;
  }
  Finish finish_of(SeqId seq) const {
    Finish out = Finish::none;
    for (const Report& report : reports)
      for (const Row& row : report.rows)
        if (row.seq == seq && row.finish != Finish::none) out = row.finish;
    return out;
  }
  // The failure reported for it; code ok when there was none.
  Error failure_of(SeqId seq) const {
    for (const Report& report : reports)
      for (const SeqFailure& failure : report.failed)
        if (failure.seq == seq) return failure.error;
    return {Code::ok, {}, {}};
  }
  bool resident(SeqId seq) const {
    for (const Report& report : reports)
      if (std::ranges::find(report.resident, seq) != report.resident.end()) return true;
    return false;
  }
  int32_t free_blocks() const { return static_cast<int32_t>(metrics.kv_blocks_free.Value()); }
  double leaked() const { return metrics.kv_blocks_of_finished.Value(); }

  FakeEngineConfig fake;
  EngineShell engine;
  ManualClock clock;
  Metrics registry;
  WorkerMetrics metrics;
  std::vector<Report> reports;
  Loop loop;
};

inline std::vector<TokenId> prompt_of(int32_t length, TokenId start = 10) {
  std::vector<TokenId> tokens(static_cast<size_t>(length));
  std::iota(tokens.begin(), tokens.end(), start);
  return tokens;
}

// The n tokens the fake engine draws after these.
inline std::vector<TokenId> expected(const FakeEngineConfig& fake, std::vector<TokenId> tokens,
                                     const Sampling& sampling, int32_t n) {
  std::vector<TokenId> out;
  for (int32_t i = 0; i < n; ++i) {
    out.push_back(expected_token(fake, tokens, sampling));
    tokens.push_back(out.back());
  }
  return out;
}

inline Prefill prefill(SeqId seq, const std::vector<TokenId>& tokens, int32_t lease,
                       Sampling sampling = {}) {
  const auto length = static_cast<int32_t>(tokens.size());
  return {.seq = seq,
          .tokens = tokens,
          .prompt_tokens = length,
          .sampling = std::move(sampling),
          .blocks = blocks_for(length + lease, 4),
          .lease = lease};
}

}  // namespace fathom::stage
