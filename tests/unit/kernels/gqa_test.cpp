// Do query heads attend to the keys and values of their group, whatever part of the heads a rank
// owns, however a prompt was cut and whoever shares the batch? The reference is softmax attention
// in double precision over the plain keys and values.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

struct Shape {
  int32_t heads, kv_heads, dim, block_tokens;
};
constexpr Shape kLlama{8, 2, 64, 16};
constexpr Shape kOdd{9, 3, 22, 5};
constexpr Shape kOneEach{3, 3, 128, 7};
constexpr float kScale = 0.17f;

// Sequences of given lengths, their keys and values written into a shuffled paged cache by
// kv_write; slots nobody wrote hold NaN.
struct Context {
  Shape shape;
  DType dtype;
  std::vector<float> k, v;  // [sequence][position][kv head][dim], as rounded by the cache
  std::vector<size_t> starts;
  std::vector<uint8_t> bytes;
  std::vector<std::vector<BlockIndex>> blocks;

  int64_t width() const { return int64_t{2} * shape.kv_heads * shape.dim; }
  KvCache view() {
    return {.base = bytes.data(),
            .dtype = dtype,
            .block_stride = shape.block_tokens * width() + 8,
            .block_tokens = shape.block_tokens,
            .heads = shape.kv_heads,
            .dim = shape.dim};
  }
  Context(const Machine& m, Shape s, DType cache_dtype, const std::vector<int32_t>& lengths)
      : shape(s), dtype(cache_dtype) {
    BlockIndex next = 1;
    std::vector<int64_t> slots;
    for (const int32_t length : lengths) {
      starts.push_back(slots.size());
      blocks.emplace_back();
      for (int32_t at = 0; at < length; at += s.block_tokens)
        blocks.back().push_back(next), next += 2;
      std::reverse(blocks.back().begin(), blocks.back().end());
      for (int32_t t = 0; t < length; ++t)
        slots.push_back(int64_t{blocks.back()[static_cast<size_t>(t / s.block_tokens)]} *
                            s.block_tokens +
                        t % s.block_tokens);
    }
    bytes.assign(static_cast<size_t>(next * view().block_stride * dtype_bytes(dtype)), 0xFF);
    const auto row = static_cast<size_t>(s.kv_heads * s.dim);
    k = naive::random_floats(slots.size() * row, 3, 0.7f);
    v = naive::random_floats(slots.size() * row, 4);
    // Two ranks of unequal parts write their own heads.
    for (const auto& [first, heads] : {std::pair{0, 1}, std::pair{1, s.kv_heads - 1}})
      m.ops.kv_write(m.ctx, {.k = &k[static_cast<size_t>(first * s.dim)],
                             .k_stride = static_cast<int64_t>(row),
                             .v = &v[static_cast<size_t>(first * s.dim)],
                             .v_stride = static_cast<int64_t>(row),
                             .rows = static_cast<int32_t>(slots.size()),
                             .first_head = first,
                             .heads = heads,
                             .slots = slots.data(),
                             .cache = view()});
    if (dtype == DType::bf16)
      for (auto* values : {&k, &v})
        for (float& value : *values) value = naive::rounded_bf16(value);
  }
  AttentionSequence sequence(size_t i, int32_t first_row, int32_t rows, int32_t position) const {
    return {.first_row = first_row, .rows = rows, .position = position, .blocks = blocks[i]};
  }
  const float* at(const std::vector<float>& of, size_t i, int32_t position, int32_t head) const {
    return &of[((starts[i] + static_cast<size_t>(position)) * static_cast<size_t>(shape.kv_heads) +
                static_cast<size_t>(head)) *
               static_cast<size_t>(shape.dim)];
  }
};

std::vector<float> attend(const Machine& m, Context& c, const std::vector<float>& q,
                          const std::vector<AttentionSequence>& sequences) {
  const int32_t width = c.shape.heads * c.shape.dim;
  std::vector<float> out(q.size(), -1.0f);
  m.ops.gqa(m.ctx, {.sequences = sequences,
                    .q = q.data(),
                    .q_stride = width,
                    .heads = c.shape.heads,
                    .kv_heads = c.shape.kv_heads,
                    .cache = c.view(),
                    .scale = kScale,
                    .out = out.data(),
                    .out_stride = width});
  return out;
}

std::vector<double> reference(const Context& c, size_t i, int32_t kv_head, const float* q,
                              int32_t position) {
  std::vector<double> p, out(static_cast<size_t>(c.shape.dim));
  double largest = -1e300, sum = 0;
  for (int32_t t = 0; t <= position; ++t) {
    double score = 0;
    for (int32_t d = 0; d < c.shape.dim; ++d)
      score += double{q[d]} * double{c.at(c.k, i, t, kv_head)[d]};
    p.push_back(score * double{kScale});
    largest = std::max(largest, p.back());
  }
  for (double& value : p) sum += value = std::exp(value - largest);
  for (int32_t t = 0; t <= position; ++t)
    for (int32_t d = 0; d < c.shape.dim; ++d)
      out[static_cast<size_t>(d)] +=
          p[static_cast<size_t>(t)] / sum * double{c.at(c.v, i, t, kv_head)[d]};
  return out;
}

class Gqa : public testing::TestWithParam<std::string> {
 protected:
  Machine machine(int threads = 1, Compute compute = Compute::float32) const {
    return Machine(GetParam().c_str(), threads, compute);
  }
};

TEST_P(Gqa, equals_softmax_attention_of_each_group) {
  for (const Shape& s : {kLlama, kOdd, kOneEach})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Machine m = machine(2);
      Context c(m, s, dtype, {1, 70, 600});
      const auto width = static_cast<size_t>(s.heads * s.dim);
      // Row 1 belongs to nobody.
      const std::vector<AttentionSequence> sequences = {
          c.sequence(0, 0, 1, 0), c.sequence(1, 2, 6, 64), c.sequence(2, 8, 1, 599)};
      const auto q = naive::random_floats(9 * width, 8);
      const auto out = attend(m, c, q, sequences);
      for (size_t i = 0; i < sequences.size(); ++i)
        for (int32_t r = 0; r < sequences[i].rows; ++r)
          for (int32_t h = 0; h < s.heads; ++h) {
            const size_t at = static_cast<size_t>(sequences[i].first_row + r) * width +
                              static_cast<size_t>(h * s.dim);
            const auto want =
                reference(c, i, h / (s.heads / s.kv_heads), &q[at], sequences[i].position + r);
            for (size_t d = 0; d < want.size(); ++d)
              ASSERT_NEAR(out[at + d], want[d], 2e-4)
                  << "sequence " << i << " row " << r << " head " << h;
          }
      for (size_t i = width; i < 2 * width; ++i)
        ASSERT_EQ(out[i], -1.0f) << "a row of no sequence was written";
    }
}

TEST_P(Gqa, rank_with_a_run_of_the_heads_computes_the_same_bits) {
  const Machine m = machine();
  Context c(m, kOdd, DType::bf16, {330});
  const int32_t dim = kOdd.dim, width = kOdd.heads * dim;
  const auto q = naive::random_floats(static_cast<size_t>(3 * width), 8);
  const std::vector<AttentionSequence> sequences = {c.sequence(0, 0, 3, 327)};
  const auto whole = attend(m, c, q, sequences);
  std::vector<float> part(q.size(), -1.0f);
  for (const auto& [first, heads] : {std::pair{0, 1}, std::pair{1, 2}})
    m.ops.gqa(m.ctx, {.sequences = sequences,
                      .q = &q[static_cast<size_t>(first * 3 * dim)],
                      .q_stride = width,
                      .heads = heads * 3,
                      .first_kv_head = first,
                      .kv_heads = heads,
                      .cache = c.view(),
                      .scale = kScale,
                      .out = &part[static_cast<size_t>(first * 3 * dim)],
                      .out_stride = width});
  EXPECT_EQ(part, whole);
}

TEST_P(Gqa, row_has_the_same_bits_however_the_prompt_is_cut_and_whoever_shares_the_batch) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16})
    for (const Shape& s : {kLlama, kOdd}) {
      const Machine m = machine(1, compute);
      Context c(m, s, DType::bf16, {700, 90});
      const auto width = static_cast<size_t>(s.heads * s.dim);
      const auto q = naive::random_floats(700 * width, 8);
      const auto whole = attend(m, c, q, {c.sequence(0, 0, 700, 0)});
      for (const int threads : {2, 3})
        ASSERT_EQ(whole, attend(machine(threads, compute), c, q, {c.sequence(0, 0, 700, 0)}));
      int32_t begin = 0;
      for (const int32_t n : {1, 36, 64, 7, 400, 191, 1}) {
        std::vector<float> part = naive::random_floats(5 * width, 99);  // a stranger's rows
        part.insert(
            part.end(), q.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin) * width),
            q.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin + n) * width));
        const auto out = attend(machine(2, compute), c, part,
                                {c.sequence(1, 0, 5, 85), c.sequence(0, 5, n, begin)});
        ASSERT_TRUE(std::equal(
            out.begin() + static_cast<std::ptrdiff_t>(5 * width), out.end(),
            whole.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin) * width)))
            << "rows " << begin << "+" << n;
        begin += n;
      }
      ASSERT_EQ(begin, 700);
    }
}

TEST_P(Gqa, bfloat16_stays_near_float32) {
  for (const Shape& s : {kLlama, kOdd, kOneEach})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Machine exact = machine(), rounded = machine(2, Compute::bfloat16);
      Context c(exact, s, dtype, {700, 300});
      const auto q = naive::random_floats(static_cast<size_t>(101 * s.heads * s.dim), 8);
      const std::vector<AttentionSequence> sequences = {c.sequence(0, 0, 100, 600),
                                                        c.sequence(1, 100, 1, 299)};
      const auto want = attend(exact, c, q, sequences), got = attend(rounded, c, q, sequences);
      double error = 0, size = 0;
      for (size_t i = 0; i < want.size(); ++i)
        error += std::pow(got[i] - want[i], 2), size += std::pow(want[i], 2);
      EXPECT_LT(std::sqrt(error / size), 0.05);
    }
}

TEST_P(Gqa, long_context_has_the_same_bits_shared_out_to_lanes_or_in_a_batch) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16}) {
    const Machine m = machine(1, compute);
    Context c(m, kLlama, DType::bf16, {1400, 1400});
    const auto width = static_cast<size_t>(kLlama.heads * kLlama.dim);
    const auto q = naive::random_floats(20 * width, 8);
    const std::vector<float> last(q.end() - static_cast<std::ptrdiff_t>(width), q.end());
    const auto alone = attend(m, c, last, {c.sequence(0, 0, 1, 1399)});
    for (const int threads : {2, 3})
      ASSERT_EQ(alone, attend(machine(threads, compute), c, last, {c.sequence(0, 0, 1, 1399)}));
    const auto batch =
        attend(machine(2, compute), c, q, {c.sequence(1, 0, 19, 1300), c.sequence(0, 19, 1, 1399)});
    ASSERT_TRUE(
        std::equal(alone.begin(), alone.end(), batch.end() - static_cast<std::ptrdiff_t>(width)));
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, Gqa, testing::ValuesIn(naive::tables()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace fathom
