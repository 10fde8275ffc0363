// How does one thread of the host run thousands of CUDA threads by turns? Each has a stack of its
// own, and a switch saves the few registers that a call must keep and takes another stack: a few
// nanoseconds, without the kernel's help. Stacks are kept and used again.
#pragma once

#include <cstddef>
#include <vector>

// The registers of the running stack are kept at *from; the stack at `to` goes on where it left.
extern "C" void emulated_switch(void** from, void* to);

namespace emulated {

inline constexpr size_t kStackBytes = size_t{128} << 10;

// A stack on which `entry` begins at the first switch to what start() returns. It must never end.
class Stack {
 public:
  Stack();
  ~Stack();
  Stack(Stack&& other) noexcept : base_(other.base_) { other.base_ = nullptr; }
  Stack& operator=(Stack&&) = delete;
  void* start(void (*entry)());

 private:
  char* base_ = nullptr;  // the lowest page can not be touched: what overflows ends there
};

// Stacks between uses.
class Stacks {
 public:
  Stack take();
  void give(Stack&& stack) { free_.push_back(std::move(stack)); }

 private:
  std::vector<Stack> free_;
};

}  // namespace emulated
