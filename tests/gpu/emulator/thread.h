// What does one emulated CUDA thread know? Its place in its block, and what it waits for. Device
// code runs in one thread of the host at a time (see stream.h), so the running one is one pointer.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "tests/gpu/emulator/clocks.h"
#include "tests/gpu/emulator/device.h"
#include "tests/gpu/emulator/fiber.h"

namespace emulated {

struct Block;

struct Thread : ThreadPlace {
  explicit Thread(Stack&& s) : stack(std::move(s)) {}
  Stack stack;
  void* registers = nullptr;  // where it goes on
  Block* block = nullptr;
  bool ended = false;
  // While it waits: whether it may go on, and the words for a report.
  bool (*may_go_on)(const void*) = nullptr;
  const void* asked = nullptr;
  const char* waits_for = "";
  bool cluster_arrived = false;  // at the barrier of the cluster, for which it has not waited yet
  uint64_t cluster_turn = 0;     // when it arrived
  std::shared_ptr<Gathering> cluster_told;
  uint32_t copies = 0;  // cp.async of this thread under way
  // Bulk stores under way, of each committed group and of the open one.
  std::deque<std::shared_ptr<uint32_t>> stores;
  std::shared_ptr<uint32_t> open_stores;
  // Where races are watched for (races.h):
  Clock clock;
  const void* said = nullptr;  // where the last instruction was that reaches beyond the thread
  Epoch copies_said = 0, stores_committed = 0;
};

extern Thread* now;  // and `here`, as device code knows it

// Lets others run; comes back when `may_go_on` of the running thread says so.
void let_others_run();
// The running thread asks again and again for what another GPU or the host does: those have a
// chance now.
void let_other_gpus_run();
// A chance for others where the running thread could go on.
void perhaps_let_others_run();

// `words`: what the report of a deadlock says.
template <class Condition>
void wait_until(const char* words, const Condition& condition) {
  if (condition()) return perhaps_let_others_run();
  Thread& self = *now;
  self.waits_for = words;
  self.may_go_on = [](const void* asked) { return (*static_cast<const Condition*>(asked))(); };
  self.asked = &condition;
  let_others_run();
  self.may_go_on = nullptr;
}

[[noreturn]] void fault(const std::string& what);

}  // namespace emulated
