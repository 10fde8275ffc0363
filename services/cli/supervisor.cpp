#include "cli/supervisor.h"

#include <signal.h>

#include <algorithm>

namespace fathom {
namespace {

constexpr Duration kPauseMin = Duration::seconds(1);
constexpr Duration kPauseMax = Duration::seconds(30);
constexpr Duration kLongLife = Duration::seconds(60);

}  // namespace

Supervisor::Supervisor(std::vector<ProgramStart> programs) {
  for (auto& program : programs) members_.emplace_back().program = std::move(program);
}

Status Supervisor::start_all(Instant now) {
  for (auto& member : members_) {
    FATHOM_TRY(member.process, Process::start(member.program));
    member.started = now;
  }
  return {};
}

std::vector<Death> Supervisor::reap(Instant now) {
  std::vector<Death> deaths;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    const auto end = member.process.poll();
    if (!end) continue;
    if (now - member.started > kLongLife) member.pause = kPauseMin;
    deaths.push_back({i, *end, member.pause});
    member.due = stopping_ ? kNever : now + member.pause;
    member.pause = std::min(member.pause * 2, kPauseMax);
  }
  return deaths;
}

std::vector<std::string> Supervisor::restart_due(Instant now) {
  std::vector<std::string> names;
  for (auto& member : members_) {
    if (stopping_ || member.process.running() || member.due > now) continue;
    auto process = Process::start(member.program);
    member.due = process.ok() ? kNever : now + kPauseMax;
    if (!process.ok()) continue;
    member.process = std::move(process).value();
    member.started = now;
    names.push_back(member.program.name);
  }
  return names;
}

bool Supervisor::any_running() const {
  return std::ranges::any_of(members_, [](const Member& m) { return m.process.running(); });
}

void Supervisor::kill_all() const {
  for (const auto& member : members_) member.process.signal(SIGKILL);
}

}  // namespace fathom
