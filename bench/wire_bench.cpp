// links: fathom_router
// What does a token cost on its way from a worker through the router to a gateway? Two answers: the
// conversions alone, and the whole path over real sockets with a worker that computes nothing. CPU
// time is that of the whole process: worker, router and gateway together.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <map>
#include <mutex>
#include <thread>

#include "net/drive_service.h"
#include "net/grpc_server.h"
#include "net/reused_message.h"
#include "net/router_link.h"
#include "net/wire_drive.h"
#include "net/wire_serve.h"
#include "process/log.h"
#include "router/router.h"

namespace {

using namespace fathom;

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Steps whenever a sequence has a lease: one report with one token for each.
class FakeWorker final : public DriveHandler {
 public:
  FakeWorker() : service_(make_drive_service(*this)) {
    auto started = start_grpc_server({.services = {&service_->grpc()}});
    CHECK(started.ok());
    server_ = std::move(started).value();
    stepper_ = std::thread([this] { run(); });
  }
  ~FakeWorker() override {
    service_->stop();
    server_->stop({});
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    news_.notify_all();
    stepper_.join();
  }
  std::string address() const { return server_->address(); }
  uint64_t steps() const { return step_; }

 private:
  struct Running {
    int32_t emitted = 0, lease = 0, most = 0;
  };
  Result<Welcome> on_hello(const Hello&) override {
    Welcome welcome;
    welcome.model = welcome.model_digest = "fake";
    welcome.kv = {.kind = "fake", .block_tokens = 64, .block_bytes = 64};
    welcome.blocks = 1 << 20;
    welcome.rows_max = 4096;
    welcome.context_max = 1 << 20;
    welcome.vocab = 1000;
    welcome.fetch_address = address();
    return welcome;
  }
  void on_router_gone() override {}
  void on_edits(Edits edits) override {
    {
      std::lock_guard lock(mutex_);
      for (const Edit& edit : edits) {
        if (const auto* prefill = std::get_if<Prefill>(&edit))
          running_[prefill->seq] = {0, prefill->lease, prefill->sampling.max_tokens};
        else if (const auto* renew = std::get_if<Renew>(&edit))
          running_[renew->seq].lease += renew->lease;
        else if (const auto* drop = std::get_if<Drop>(&edit))
          running_.erase(drop->seq);
      }
    }
    news_.notify_all();
  }
  Report step_locked() {
    Report report;
    for (auto it = running_.begin(); it != running_.end();) {
      Running& run = it->second;
      if (run.lease == 0) {
        ++it;
        continue;
      }
      Row row{.seq = it->first, .first = run.emitted, .tokens = {7}};
      --run.lease;
      row.computed = ++run.emitted;
      const bool last = run.emitted == run.most;
      if (last) row.finish = Finish::length;
      report.rows.push_back(std::move(row));
      it = last ? running_.erase(it) : std::next(it);
    }
    return report;
  }
  void run() {
    std::unique_lock lock(mutex_);
    while (!stopped_) {
      Report report = step_locked();
      if (report.rows.empty()) {
        news_.wait(lock);
        continue;
      }
      report.step = ++step_;
      report.step_us = 1;
      report.decode_rows = static_cast<int32_t>(report.rows.size());
      lock.unlock();
      service_->send(std::move(report));
      lock.lock();
    }
  }

  std::unique_ptr<DriveService> service_;
  std::unique_ptr<GrpcServer> server_;
  std::mutex mutex_;
  std::condition_variable news_;
  std::map<SeqId, Running> running_;
  std::atomic<uint64_t> step_ = 0;
  bool stopped_ = false;
  std::thread stepper_;
};

// Counts what arrives.
class Gateway final : public RouterEvents {
 public:
  void on_events(std::vector<FromRouter> events) override {
    std::lock_guard lock(mutex_);
    for (const FromRouter& event : events) {
      if (const auto* state = std::get_if<ClusterState>(&event)) ready_ = state->ready;
      if (const auto* tokens = std::get_if<Tokens>(&event)) {
        tokens_ += static_cast<int64_t>(tokens->tokens.size());
        if (tokens->finish != Finish::none) ++ended_;
      }
      CHECK(!std::holds_alternative<Finished>(event));
    }
    changed_.notify_all();
  }
  void on_router_lost(const Error&) override {}
  void on_router_connected() override {}
  void wait_ready() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ready_; });
  }
  int64_t wait_ended(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ == count; });
    return tokens_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ready_ = false;
  int ended_ = 0;
  int64_t tokens_ = 0;
};

void whole_path(int requests, int32_t max_tokens) {
  SystemClock clock;
  Metrics metrics;
  FakeWorker worker;
  RouterConfig config;
  config.listen = "127.0.0.1:0";
  config.operations_listen = "";
  config.workers = {worker.address()};
  config.queue_max = requests;
  config.tenant_queue_max = requests;
  auto router = start_router(config, {.clock = clock, .metrics = metrics, .epoch = 1});
  CHECK(router.ok());
  Gateway gateway;
  const auto link = connect_router((*router)->address(), "bench", gateway);
  gateway.wait_ready();
  std::vector<ToRouter> submits;
  for (int i = 0; i < requests; ++i) {
    Submit submit{.id = RequestId{static_cast<uint64_t>(i)},
                  .tokens = std::vector<TokenId>(100, 3)};
    submit.prompt_tokens = 100;
    submit.sampling.max_tokens = max_tokens;
    submits.push_back(std::move(submit));
  }
  const Instant start = clock.now();
  const double cpu = cpu_seconds();
  CHECK(link->send(std::move(submits)).ok());
  const auto tokens = static_cast<double>(gateway.wait_ended(requests));
  const double wall = (clock.now() - start).to_seconds();
  std::printf(
      "path      %4d requests %8.0f tokens %6lu steps  %9.0f tokens/s  %6.3f us CPU/token\n",
      requests, tokens, static_cast<unsigned long>(worker.steps()), tokens / wall,
      (cpu_seconds() - cpu) / tokens * 1e6);
}

// One report of `rows` tokens: written, parsed and read; then the same tokens as events.
void conversions(int rows) {
  Report report;
  std::vector<FromRouter> events;
  for (int i = 0; i < rows; ++i) {
    const auto id = static_cast<uint64_t>(i);
    report.rows.push_back({.seq = SeqId{id}, .first = 100, .tokens = {7}, .computed = 500});
    events.emplace_back(Tokens{.id = RequestId{id}, .first = 100, .tokens = {7}});
  }
  wire::ReusedMessage<v1::Report> report_out, report_in;
  wire::ReusedMessage<v1::FromRouter> events_out, events_in;
  std::string bytes;
  const int rounds = 2'000'000 / rows;
  size_t seen = 0;
  double start = cpu_seconds();
  for (int i = 0; i < rounds; ++i) {
    wire::to_wire(report, report_out.fresh());
    report_out.get().SerializeToString(&bytes);
    CHECK(report_in.fresh().ParseFromString(bytes));
    seen += wire::from_wire(report_in.get())->rows.size();
  }
  const double report_us = (cpu_seconds() - start) * 1e6 / static_cast<double>(seen);
  start = cpu_seconds();
  seen = 0;
  for (int i = 0; i < rounds; ++i) {
    wire::to_wire(events, events_out.fresh());
    events_out.get().SerializeToString(&bytes);
    CHECK(events_in.fresh().ParseFromString(bytes));
    seen += wire::from_wire(events_in.get())->size();
  }
  const double events_us = (cpu_seconds() - start) * 1e6 / static_cast<double>(seen);
  std::printf("convert   %4d rows    report %.3f us/token, events %.3f us/token (there and back)\n",
              rows, report_us, events_us);
}

}  // namespace

int main() {
  log_start("wire_bench", LogLevel::error);
  for (const int rows : {1, 32, 256}) conversions(rows);
  for (const int requests : {1, 32, 256}) whole_path(requests, 4000);
  return 0;
}
