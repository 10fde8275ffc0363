// What do the tensor cores compute? Products of bf16 that are exact, added in double precision and
// rounded to float32 once an instruction: a GPU's own rounding within an instruction is not said
// anywhere, so bits differ from a GPU's here, and only here. Of e4m3 it is known that sums keep
// about 14 bits; here all that is added in an instruction, the sum so far too, loses what lies 14
// bits below the largest of it, so that who adds too long in there is found out.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/emulator/ptx.h"

namespace emulated {
namespace {

template <class Act>
void meet(const char* what, const Act& act) {
  Block& block = *now->block;
  Warpgroup& w = block.warpgroups[now->linear / 128];
  if (w.arrived == 0) w.what = what;
  if (w.what != what)
    fault(std::string("threads of a warpgroup meet at ") + w.what + " and at " + what);
  const uint64_t turn = w.turn;
  ++w.arrived;
  act(w);
  if (w.arrived == 128) {
    w.arrived = 0;
    ++w.turn;
  }
  wait_until(what, [&] { return w.turn != turn; });
}

struct Description {
  uint32_t address, leading, stride;
  explicit Description(uint64_t bits)
      : address(static_cast<uint32_t>(bits & 0x3FFF) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3FFF) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3FFF) << 4) {
    if (bits >> 62 != 1) fault("wgmma: only the 128-byte swizzle is emulated");
    if ((bits >> 49 & 7) != 0) fault("wgmma: a base offset is not emulated");
  }
  // Element (outer, k) of an operand whose k are side by side, 8 rows of 128 bytes `stride` apart;
  // or whose outer index is, 64 of it in 128 bytes, pieces `leading` apart, 8 k `stride` apart.
  uint32_t place(uint32_t outer, uint32_t k, bool columns) const {
    const uint32_t at =
        address + (columns ? outer / 64 * leading + k / 8 * stride + k % 8 * 128 + outer % 64 * 2
                           : outer / 8 * stride + outer % 8 * 128 + k * 2);
    return at ^ (at >> 7 & 7) << 4;
  }
  // Of single bytes, whose k are side by side.
  uint32_t place_of_byte(uint32_t outer, uint32_t k) const {
    const uint32_t at = address + outer / 8 * stride + outer % 8 * 128 + k;
    return at ^ (at >> 7 & 7) << 4;
  }
};

// Runs of 16 bytes that an operand of `rows` rows lies in.
template <class Each>
void walk_operand(uint64_t description, uint32_t rows, bool columns, const Each& each) {
  const Description from(description);
  if (columns) {
    for (uint32_t k = 0; k < 16; ++k)
      for (uint32_t outer = 0; outer < rows; outer += 8) each(from.place(outer, k, true), outer);
  } else {
    for (uint32_t row = 0; row < rows; ++row)
      for (uint32_t half = 0; half < 2; ++half) each(from.place(row, half * 8, false), row);
  }
}

// What the running warpgroup's product will read, before it waits for it.
void watch_operands(Races& races, const Product& p) {
  const uint32_t warpgroup = now->linear / 128;
  const auto beside = races.products(warpgroup, now->block->warpgroups[warpgroup].groups + 1);
  if (!p.a_held) {
    SharedKnown known[4];
    for (uint32_t w = 0; w < 4; ++w) known[w] = races.known_to(warpgroup * 128 + w * 32, 32);
    walk_operand(p.a, 64, p.a_columns, [&](uint32_t place, uint32_t row) {
      races.read_operand(place, 16, beside, known[row / 16]);
    });
  }
  const SharedKnown known = races.known_to(warpgroup * 128, 128);
  walk_operand(p.b, static_cast<uint32_t>(p.width), p.b_columns,
               [&](uint32_t place, uint32_t) { races.read_operand(place, 16, beside, known); });
}

float read(const Block& block, uint32_t place) {
  uint16_t bits;
  std::memcpy(&bits, block.memory->bytes + place, 2);
  return of_bf16(bits);
}

// The 64 x width sums so far, row by row.
template <class Each>
void walk_sums(const Product& p, const Each& each) {
  for (uint32_t row = 0; row < 64; ++row) {
    const uint32_t thread = row / 16 * 32 + row % 8 * 4, high = row % 16 / 8;
    for (uint32_t n = 0; n < static_cast<uint32_t>(p.width); ++n)
      each(row, n, p.sums[thread + n % 8 / 2][n / 8 * 4 + high * 2 + n % 2]);
  }
}

void multiply_bytes(Block& block, const Product& p) {
  constexpr uint32_t kDepth = 32;
  constexpr int kBits = 14;
  static thread_local double a[64][kDepth], b[256][kDepth];
  const auto read = [&](uint64_t description, uint32_t outer, uint32_t k) {
    const uint32_t at = Description(description).place_of_byte(outer, k);
    return double{of_e4m3(std::to_integer<uint8_t>(block.memory->bytes[at]))};
  };
  for (uint32_t k = 0; k < kDepth; ++k) {
    for (uint32_t row = 0; row < 64; ++row) a[row][k] = read(p.a, row, k);
    for (uint32_t n = 0; n < static_cast<uint32_t>(p.width); ++n) b[n][k] = read(p.b, n, k);
  }
  walk_sums(p, [&](uint32_t row, uint32_t n, float& sum) {
    double terms[kDepth + 1], largest = 0;
    for (uint32_t k = 0; k < kDepth; ++k) terms[k] = a[row][k] * b[n][k];
    terms[kDepth] = p.add ? sum : 0.0;
    for (const double t : terms) largest = std::max(largest, std::fabs(t));
    const double last = largest > 0 ? std::ldexp(1.0, std::ilogb(largest) - kBits + 1) : 1.0;
    double all = 0;
    for (const double t : terms) all += std::trunc(t / last) * last;
    sum = static_cast<float>(all);
  });
}

}  // namespace

void multiply(Block& block, const Product& p) {
  if (p.bytes) return multiply_bytes(block, p);
  static thread_local float a[64][16], b[16][256];
  if (p.a_held) {
    for (uint32_t t = 0; t < 128; ++t)
      for (uint32_t r = 0; r < 4; ++r)
        for (uint32_t half = 0; half < 2; ++half)
          a[t / 32 * 16 + t % 32 / 4 + r % 2 * 8][t % 4 * 2 + r / 2 * 8 + half] =
              of_bf16(static_cast<uint16_t>(p.held[t][r] >> (16 * half)));
  } else {
    const Description from(p.a);
    for (uint32_t row = 0; row < 64; ++row)
      for (uint32_t k = 0; k < 16; ++k) a[row][k] = read(block, from.place(row, k, p.a_columns));
  }
  const Description from(p.b);
  const auto width = static_cast<uint32_t>(p.width);
  for (uint32_t n = 0; n < width; ++n)
    for (uint32_t k = 0; k < 16; ++k) b[k][n] = read(block, from.place(n, k, p.b_columns));
  static thread_local double sums[256];
  static thread_local float rounded[64][256];
  for (uint32_t row = 0; row < 64; ++row) {
    const uint32_t thread = row / 16 * 32 + row % 8 * 4, high = row % 16 / 8;
    for (uint32_t n = 0; n < width; ++n)
      sums[n] = p.add ? p.sums[thread + n % 8 / 2][n / 8 * 4 + high * 2 + n % 2] : 0.0;
    for (uint32_t k = 0; k < 16; ++k) {
      const double x = a[row][k];
      for (uint32_t n = 0; n < width; ++n) sums[n] += x * b[k][n];
    }
    for (uint32_t n = 0; n < width; ++n) rounded[row][n] = static_cast<float>(sums[n]);
  }
  for (uint32_t row = 0; row < 64; ++row) {
    const uint32_t thread = row / 16 * 32 + row % 8 * 4, high = row % 16 / 8;
    for (uint32_t n = 0; n < width; ++n)
      p.sums[thread + n % 8 / 2][n / 8 * 4 + high * 2 + n % 2] = rounded[row][n];
  }
}

}  // namespace emulated

namespace ptx {

using emulated::now;
using emulated::Product;
using emulated::Warpgroup;

void wgmma_fence_sync_aligned() {
  emulated::meet("wgmma.fence", [](Warpgroup&) {});
}

void warpgroup_product(const WarpgroupProduct& said) {
  now->said = __builtin_return_address(0);
  emulated::Block& block = *now->block;
  emulated::meet("wgmma.mma_async", [&](Warpgroup& w) {
    const uint32_t t = now->linear % 128;
    Product& p = w.coming;
    if (w.arrived == 1) {
      p.width = said.width;
      p.add = said.add;
      p.a_held = said.held != nullptr;
      p.a = said.a;
      p.b = said.b;
      p.a_columns = said.a_columns;
      p.b_columns = said.b_columns;
      p.bytes = said.bytes;
    } else if (p.width != said.width || p.add != said.add || p.a != said.a || p.b != said.b) {
      emulated::fault("threads of a warpgroup say different products");
    }
    p.sums[t] = said.sums;
    if (said.held != nullptr)
      for (size_t i = 0; i < 4; ++i) p.held[t][i] = *(*said.held)[i];
    if (w.arrived != 128) return;
    if (emulated::Races* races = emulated::watched_races()) {
      emulated::watch_operands(*races, p);
      races->product_begins(now->linear / 128, p.a_held);
    }
    // Products into the same registers keep their order: this one happens now only if none waits.
    if (w.open.empty() && w.committed.empty() && block.grid->schedule().once_in(2))
      emulated::multiply(block, p);
    else
      w.open.push_back(p);
  });
}

void wgmma_commit_group_sync_aligned() {
  emulated::meet("wgmma.commit_group", [](Warpgroup& w) {
    if (w.arrived != 128) return;
    ++w.groups;
    if (emulated::Races* races = emulated::watched_races())
      races->products_committed(now->linear / 128);
    w.committed.push_back(std::move(w.open));
    w.open.clear();
  });
}

void wgmma_wait_group_sync_aligned(int pending) {
  emulated::Block& block = *now->block;
  emulated::meet("wgmma.wait_group", [&](Warpgroup& w) {
    if (w.arrived != 128) return;
    while (w.committed.size() > static_cast<size_t>(pending)) {
      for (const Product& p : w.committed.front()) emulated::multiply(block, p);
      w.committed.pop_front();
    }
  });
  const Warpgroup& w = block.warpgroups[now->linear / 128];
  const auto left = static_cast<uint32_t>(pending);
  if (emulated::Races* races = emulated::watched_races(); races != nullptr && w.groups > left)
    races->products_end(now->linear / 128, w.groups - left);
}

// Lane l: rows l / 4 and l / 4 + 8 of a and d, column l / 4 of b; depths and columns 2 (l % 4) on.
void mma_sync_aligned_m16n8k16_row_col_f32_bf16_bf16_f32(const std::array<float*, 4>& d,
                                                         const Words4& a, const Words2& b,
                                                         const std::array<float*, 4>& c) {
  std::array<std::array<uint64_t, 32>, 3> words;
  words[0] = emulated::exchange(~0u, "mma.sync", *a[0] | uint64_t{*a[1]} << 32);
  words[1] = emulated::exchange(~0u, "mma.sync", *a[2] | uint64_t{*a[3]} << 32);
  words[2] = emulated::exchange(~0u, "mma.sync", *b[0] | uint64_t{*b[1]} << 32);
  const uint32_t lane = now->lane();
  const auto half = [&](int set, uint32_t from, uint32_t word, uint32_t k) {
    const uint64_t bits = words[static_cast<size_t>(set)][from] >> (32 * word + 16 * (k % 2));
    return double{emulated::of_bf16(static_cast<uint16_t>(bits))};
  };
  float out[4];
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t high = i / 2, row = lane / 4, column = lane % 4 * 2 + i % 2;
    double sum = *c[i];
    for (uint32_t k = 0; k < 16; ++k)
      sum += half(k < 8 ? 0 : 1, row * 4 + k % 8 / 2, high, k) *
             half(2, column * 4 + k % 8 / 2, k / 8, k);
    out[i] = static_cast<float>(sum);
  }
  for (size_t i = 0; i < 4; ++i) *d[i] = out[i];
}

namespace {

// Lane l gets elements (l / 4, 2 (l % 4)) and the next of each 8 x 8 matrix, or of its transpose.
void load_matrices(const std::array<uint32_t*, 4>& m, uint32_t row, bool transposed) {
  if (row % 16 != 0) emulated::fault("ldmatrix: a row that is not 16-byte aligned");
  // Each lane reads the row it names.
  emulated::touch_shared(row, 16, emulated::Access::read);
  const auto rows = emulated::exchange(~0u, "ldmatrix", row);
  const uint32_t lane = now->lane();
  for (uint32_t i = 0; i < 4; ++i) {
    uint32_t both = 0;
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t outer = lane / 4, inner = lane % 4 * 2 + half;
      const uint32_t r = transposed ? inner : outer, column = transposed ? outer : inner;
      uint16_t bits;
      std::memcpy(&bits,
                  emulated::at_shared(static_cast<uint32_t>(rows[i * 8 + r]), 16) + column * 2, 2);
      both |= uint32_t{bits} << (16 * half);
    }
    *m[i] = both;
  }
  // Nobody may overwrite a row before all have read.
  emulated::exchange(~0u, "ldmatrix", 0);
}

}  // namespace

void ldmatrix_sync_aligned_m8n8_x4_shared_b16(const std::array<uint32_t*, 4>& m, uint32_t row) {
  load_matrices(m, row, false);
}
void ldmatrix_sync_aligned_m8n8_x4_trans_shared_b16(const std::array<uint32_t*, 4>& m,
                                                    uint32_t row) {
  load_matrices(m, row, true);
}

}  // namespace ptx
