// What do the 128 threads of a warpgroup do together? wgmma: a 64 x N x 16 product of bf16, or 64 x
// N x 32 of e4m3, whose operands are read, and whose sums are written, some time between the
// instruction and the wait for its group.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

namespace emulated {

struct Block;

struct Product {
  int width = 0;        // N
  bool a_held = false;  // operand A is in registers
  bool add = false;
  bool a_columns = false, b_columns = false;  // the inner axis is not the summed one
  bool bytes = false;                         // e4m3 and 32 deep
  uint64_t a = 0, b = 0;                      // descriptions
  std::array<float*, 128> sums = {};          // N / 2 of each thread
  std::array<std::array<uint32_t, 4>, 128> held = {};
};

struct Warpgroup {
  uint32_t arrived = 0;
  uint64_t turn = 0;
  const char* what = "";
  Product coming;
  uint32_t groups = 0;  // committed so far
  std::vector<Product> open;
  std::deque<std::vector<Product>> committed;
};

// Reads shared memory of the block and adds to the threads' sums.
void multiply(Block& block, const Product& product);

}  // namespace emulated
