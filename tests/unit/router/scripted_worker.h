// How does a test play a worker? It answers each Prefill with tokens 100, 101, ... as far as its
// lease goes, one report per token, and can be told to hold still.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "net/drive_service.h"
#include "net/grpc_server.h"
#include "tests/unit/net/mailbox.h"

namespace fathom {

inline Welcome tiny_welcome(uint64_t instance = 1) {
  Welcome welcome;
  welcome.instance = instance;
  welcome.model = "tiny";
  welcome.model_digest = "digest-a";
  welcome.kv = {.kind = "fake", .layers = 1, .width = 1, .block_tokens = 16, .block_bytes = 64};
  welcome.blocks = 64;
  welcome.rows_max = 8;
  welcome.context_max = 512;
  welcome.vocab = 1000;
  return welcome;
}

class ScriptedWorker final : public DriveHandler {
 public:
  explicit ScriptedWorker(Welcome welcome = tiny_welcome(),
                          const std::string& listen = "127.0.0.1:0")
      : welcome_(std::move(welcome)), service_(make_drive_service(*this)) {
    auto started = start_grpc_server({.listen = listen, .services = {&service_->grpc()}});
    EXPECT_TRUE(started.ok()) << started.error().text();
    server_ = std::move(started).value();
    welcome_.fetch_address = server_->address();
  }
  ~ScriptedWorker() override { stop(); }
  void stop() {
    service_->stop();
    server_->stop({});
  }
  std::string address() const { return server_->address(); }

  // From now on no sequence emits more than `tokens` in its life.
  void hold_after(int32_t tokens) {
    std::lock_guard lock(mutex_);
    hold_after_ = tokens;
  }
  Mailbox<Hello> hellos;
  Mailbox<Prefill> prefills;
  Mailbox<SeqId> drops;

 private:
  struct Running {
    SeqId seq;
    int32_t prompt = 0;
    int32_t max_tokens = 0;
    int32_t emitted = 0;  // over the request's life
    int32_t lease = 0;
    bool handoff = false;
  };
  Result<Welcome> on_hello(const Hello& hello) override {
    std::lock_guard lock(mutex_);
    running_.clear();
    hellos.put(hello);
    return welcome_;
  }
  void on_router_gone() override {}
  void on_edits(Edits edits) override {
    std::lock_guard lock(mutex_);
    for (const Edit& edit : edits) std::visit([this](const auto& e) { obey(e); }, edit);
    for (auto it = running_.begin(); it != running_.end();)
      it = emit(it->second) ? running_.erase(it) : std::next(it);
  }
  void obey(const Hello&) { ADD_FAILURE() << "a Hello among the edits"; }
  void obey(const Prefill& edit) {
    running_[edit.seq] = {edit.seq,
                          edit.prompt_tokens,
                          edit.sampling.max_tokens,
                          static_cast<int32_t>(edit.tokens.size()) - edit.prompt_tokens,
                          edit.lease,
                          edit.handoff};
    prefills.put(edit);
  }
  void obey(const Receive& edit) {
    Report report;
    report.resident = {edit.seq};
    report.free_blocks = welcome_.blocks;
    service_->send(std::move(report));
  }
  void obey(const Decode& edit) {
    running_[edit.seq] = {edit.seq, edit.prompt_tokens, edit.sampling.max_tokens,
                          static_cast<int32_t>(edit.tokens.size()) - edit.prompt_tokens,
                          edit.lease};
  }
  void obey(const Renew& edit) {
    if (running_.contains(edit.seq)) running_[edit.seq].lease += edit.lease;
  }
  void obey(const Drop& edit) {
    running_.erase(edit.seq);
    drops.put(edit.seq);
  }
  // True when the sequence has ended here.
  bool emit(Running& run) {
    const int32_t most = run.max_tokens;
    while (run.lease > 0 && run.emitted < std::min(most, hold_after_)) {
      Report report;
      report.step = ++step_;
      report.step_us = 1000;
      report.decode_rows = 1;
      report.free_blocks = welcome_.blocks;
      Row row{.seq = run.seq, .first = run.emitted, .tokens = {100 + run.emitted}};
      ++run.emitted;
      --run.lease;
      row.computed = run.prompt + run.emitted - 1;
      if (run.emitted == most) row.finish = Finish::length;
      report.rows.push_back(std::move(row));
      service_->send(std::move(report));
    }
    return run.emitted == most || run.handoff;
  }

  Welcome welcome_;
  std::mutex mutex_;
  std::map<SeqId, Running> running_;
  int32_t hold_after_ = INT32_MAX;
  uint64_t step_ = 0;
  std::unique_ptr<DriveService> service_;
  std::unique_ptr<GrpcServer> server_;
};

}  // namespace fathom
