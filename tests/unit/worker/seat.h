// How do tests drive whole workers over gRPC? A Seat takes the router's place without its brain: it
// says what the story says and collects what the workers report. Waiting is for events, within a
// bound that only a broken test reaches.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "net/drive_link.h"

namespace fathom::stage {

inline constexpr Duration kPatience = Duration::seconds(20);

class Seat final : public WorkerEvents {
 public:
  explicit Seat(uint64_t epoch = 1, Duration patience = kPatience)
      : patience_(patience), links_(make_drive_links({.epoch = epoch}, *this)) {}
  ~Seat() override { links_->stop(); }

  void on_worker_report(WorkerId worker, const std::string& address, Report report) override {
    const std::lock_guard lock(mutex_);
    if (report.welcome) {
      ids_[address] = worker;
      welcomes_[address] = *report.welcome;
    }
    for (const Row& row : report.rows) {
      auto& tokens = tokens_[{address, row.seq}];
      tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
    }
    for (const Row& row : report.rows)
      if (row.finish != Finish::none) ++finishes_[row.seq];
    for (const SeqFailure& failure : report.failed) failed_[failure.seq] = failure.error;
    for (const SeqId seq : report.resident) resident_.insert(seq);
    if (report.draining) draining_.insert(address);
    changed_.notify_all();
  }
  void on_worker_down(WorkerId worker, const std::string& address, const Error& why) override {
    const std::lock_guard lock(mutex_);
    if (const auto known = ids_.find(address); known != ids_.end() && known->second == worker)
      ++losses_[address];
    ids_.erase(address);
    down_[address] = why;
    changed_.notify_all();
  }

  Welcome meet(const std::string& address) {
    links_->add(address);
    await([&] { return ids_.contains(address); });
    const std::lock_guard lock(mutex_);
    return welcomes_[address];
  }
  void say(const std::string& address, Edits edits) {
    WorkerId id;
    {
      const std::lock_guard lock(mutex_);
      id = ids_.at(address);
    }
    links_->send(id, std::move(edits));
  }
  std::vector<TokenId> tokens(const std::string& address, SeqId seq, size_t count) {
    await([&] { return tokens_[{address, seq}].size() >= count || failed_.contains(seq); });
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(failed_.contains(seq)) << failed_[seq].text();
    return tokens_[{address, seq}];
  }
  Error failure(SeqId seq) {
    await([&] { return failed_.contains(seq); });
    const std::lock_guard lock(mutex_);
    return failed_[seq];
  }
  void await_resident(SeqId seq) {
    await([&] { return resident_.contains(seq); });
  }
  void await_draining(const std::string& address) {
    await([&] { return draining_.contains(address); });
  }
  // What was told so far, without waiting.
  std::vector<TokenId> told(const std::string& address, SeqId seq) {
    const std::lock_guard lock(mutex_);
    return tokens_[{address, seq}];
  }
  // How often a sequence was said to have ended, well or not.
  int endings(SeqId seq) {
    const std::lock_guard lock(mutex_);
    return finishes_[seq] + (failed_.contains(seq) ? 1 : 0);
  }
  // How often a worker that had been welcomed there was lost.
  int losses(const std::string& address) {
    const std::lock_guard lock(mutex_);
    return losses_[address];
  }
  Error await_down(const std::string& address) {
    await([&] { return down_.contains(address); });
    const std::lock_guard lock(mutex_);
    return down_[address];
  }

 private:
  template <class Condition>
  void await(Condition condition) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::nanoseconds(patience_.ns), condition));
  }

  const Duration patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, WorkerId> ids_;
  std::map<std::string, Welcome> welcomes_;
  std::map<std::string, Error> down_;
  std::map<std::string, int> losses_;
  std::map<SeqId, int> finishes_;
  std::map<std::pair<std::string, SeqId>, std::vector<TokenId>> tokens_;
  std::map<SeqId, Error> failed_;
  std::set<SeqId> resident_;
  std::set<std::string> draining_;
  std::unique_ptr<DriveLinks> links_;
};

}  // namespace fathom::stage
