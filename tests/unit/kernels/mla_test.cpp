// Do both forms of latent attention compute softmax attention over the cached context, and does
// neither care how a prompt was cut or who shares the batch? The reference expands every key and
// value in double precision.
#include <gtest/gtest.h>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

struct Shape {
  int32_t heads, nope, rope, value, rank, block_tokens;
};
constexpr Shape kTiny{4, 32, 16, 24, 64, 16};
constexpr Shape kOdd{11, 10, 6, 7, 33, 5};
constexpr Shape kWide{18, 48, 16, 80, 112, 32};
constexpr Shape kDeep{9, 16, 8, 24, 400, 32};
constexpr Shape kLatent{3, 40, 8, 24, 160, 32};

// Some sequences with their contexts in a shuffled paged cache. Blocks nobody owns hold NaN.
struct Context {
  Shape shape;
  naive::Owned kv_b;
  std::vector<float> cache;
  std::vector<uint16_t> cache_bf16;
  std::vector<std::vector<BlockIndex>> blocks;
  DType dtype;

  Context(Shape s, DType cache_dtype, DType weight_dtype, std::vector<int32_t> lengths)
      : shape(s), dtype(cache_dtype) {
    kv_b = naive::random_weight(weight_dtype, s.heads * (s.nope + s.value), s.rank, 77);
    const int32_t width = s.rank + s.rope;
    BlockIndex next = 1;
    for (const int32_t length : lengths) {
      blocks.emplace_back();
      for (int32_t at = 0; at < length; at += s.block_tokens)
        blocks.back().push_back(next), next += 2;
      std::reverse(blocks.back().begin(), blocks.back().end());
    }
    cache.assign(static_cast<size_t>(next * s.block_tokens * width), NAN);
    const auto values = naive::random_floats(cache.size(), 5, 0.7f);
    for (size_t q = 0; q < lengths.size(); ++q)
      for (int32_t t = 0; t < lengths[q]; ++t)
        for (int32_t i = 0; i < width; ++i)
          cache[index(q, t, i)] = dtype == DType::bf16 ? naive::rounded_bf16(values[index(q, t, i)])
                                                       : values[index(q, t, i)];
    for (const float v : cache) {
      uint32_t bits;
      std::memcpy(&bits, &v, 4);
      cache_bf16.push_back(static_cast<uint16_t>(bits >> 16));
    }
  }
  size_t index(size_t sequence, int32_t position, int32_t i) const {
    const auto block =
        static_cast<size_t>(blocks[sequence][static_cast<size_t>(position / shape.block_tokens)]);
    return (block * static_cast<size_t>(shape.block_tokens) +
            static_cast<size_t>(position % shape.block_tokens)) *
               static_cast<size_t>(shape.rank + shape.rope) +
           static_cast<size_t>(i);
  }
  LatentCache view() {
    return {dtype == DType::f32 ? static_cast<void*>(cache.data()) : cache_bf16.data(),
            dtype,
            int64_t{shape.block_tokens} * (shape.rank + shape.rope),
            shape.block_tokens,
            shape.rank,
            shape.rope};
  }
  AttentionSequence sequence(size_t i, int32_t first_row, int32_t rows, int32_t position) const {
    return {.first_row = first_row, .rows = rows, .position = position, .blocks = blocks[i]};
  }
};

constexpr float kScale = 0.21f;

std::vector<float> attend(const Machine& m, bool absorbed, Context& c, const std::vector<float>& q,
                          const std::vector<AttentionSequence>& sequences) {
  const Shape& s = c.shape;
  const int32_t q_width = s.heads * (s.nope + s.rope), out_width = s.heads * s.value;
  std::vector<float> out(q.size() / static_cast<size_t>(q_width) * static_cast<size_t>(out_width),
                         -1.0f);
  const MlaParams p{.sequences = sequences,
                    .q = q.data(),
                    .q_stride = q_width,
                    .heads = s.heads,
                    .nope = s.nope,
                    .value = s.value,
                    .kv_b = c.kv_b.view,
                    .cache = c.view(),
                    .scale = kScale,
                    .out = out.data(),
                    .out_stride = out_width};
  absorbed ? m.ops.mla_absorbed(m.ctx, p) : m.ops.mla_expanded(m.ctx, p);
  return out;
}

// Keys (without their rope part) and values of one head over a whole sequence: [positions][nope +
// value].
std::vector<std::vector<double>> expand(const Context& c, size_t i, int32_t h, int32_t positions) {
  const int32_t pair = c.shape.nope + c.shape.value;
  std::vector<std::vector<double>> expanded(static_cast<size_t>(positions),
                                            std::vector<double>(static_cast<size_t>(pair)));
  for (int32_t row = 0; row < pair; ++row)
    for (int32_t r = 0; r < c.shape.rank; ++r) {
      const double w = c.kv_b.at(h * pair + row, r);
      for (int32_t t = 0; t < positions; ++t)
        expanded[static_cast<size_t>(t)][static_cast<size_t>(row)] +=
            w * double{c.cache[c.index(i, t, r)]};
    }
  return expanded;
}

// Output of one head for one query at `position` of sequence `i`.
std::vector<double> reference(const Context& c, size_t i,
                              const std::vector<std::vector<double>>& expanded, const float* q,
                              int32_t position) {
  const Shape& s = c.shape;
  std::vector<double> p;
  double largest = -1e300, sum = 0;
  for (int32_t t = 0; t <= position; ++t) {
    double score = 0;
    for (int32_t n = 0; n < s.nope; ++n)
      score += q[n] * expanded[static_cast<size_t>(t)][static_cast<size_t>(n)];
    for (int32_t n = 0; n < s.rope; ++n)
      score += double{q[s.nope + n]} * double{c.cache[c.index(i, t, s.rank + n)]};
    p.push_back(score * double{kScale});
    largest = std::max(largest, p.back());
  }
  for (double& v : p) sum += v = std::exp(v - largest);
  std::vector<double> out(static_cast<size_t>(s.value));
  for (int32_t v = 0; v < s.value; ++v)
    for (int32_t t = 0; t <= position; ++t)
      out[static_cast<size_t>(v)] +=
          p[static_cast<size_t>(t)] / sum *
          expanded[static_cast<size_t>(t)][static_cast<size_t>(s.nope + v)];
  return out;
}

class Mla : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  std::string table_ = std::get<0>(GetParam());
  bool absorbed_ = std::get<1>(GetParam());
  Machine machine(int threads = 1, Compute compute = Compute::float32) const {
    return Machine(table_.c_str(), threads, compute);
  }
};

TEST_P(Mla, equals_softmax_attention_over_expanded_keys) {
  for (const Shape& s : {kTiny, kOdd, kDeep, kLatent})
    for (const DType cache : {DType::f32, DType::bf16})
      for (const DType weight : {DType::bf16, DType::f8_e4m3}) {
        Context c(s, cache, weight, {1, 70, 600});
        const size_t q_width = static_cast<size_t>(s.heads * (s.nope + s.rope));
        // Row 1 belongs to nobody.
        const std::vector<AttentionSequence> sequences = {
            c.sequence(0, 0, 1, 0), c.sequence(1, 2, 6, 64), c.sequence(2, 8, 1, 599)};
        const auto q = naive::random_floats(9 * q_width, 8);
        const auto out = attend(machine(), absorbed_, c, q, sequences);
        for (size_t i = 0; i < sequences.size(); ++i)
          for (int32_t h = 0; h < s.heads; ++h) {
            const auto expanded = expand(c, i, h, sequences[i].position + sequences[i].rows);
            for (int32_t r = 0; r < sequences[i].rows; ++r) {
              const auto row = static_cast<size_t>(sequences[i].first_row + r);
              const float* query = &q[row * q_width + static_cast<size_t>(h * (s.nope + s.rope))];
              const auto want = reference(c, i, expanded, query, sequences[i].position + r);
              const float* got =
                  &out[(row * static_cast<size_t>(s.heads) + static_cast<size_t>(h)) *
                       static_cast<size_t>(s.value)];
              for (int32_t v = 0; v < s.value; ++v)
                ASSERT_NEAR(got[v], want[static_cast<size_t>(v)],
                            2e-4 * (s.rank == kDeep.rank
                                        ? std::max(1.0, std::abs(want[static_cast<size_t>(v)]))
                                        : 1.0))
                    << "sequence " << i << " row " << r << " head " << h;
            }
          }
        for (int32_t v = 0; v < s.heads * s.value; ++v)
          ASSERT_EQ(out[static_cast<size_t>(s.heads * s.value + v)], -1.0f)
              << "a row of no sequence was written";
      }
}

TEST_P(Mla, row_has_the_same_bits_however_the_prompt_is_cut_and_whoever_shares_the_batch) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16})
    for (const auto& [s, weight] : {std::pair{kTiny, DType::bf16},
                                    {kTiny, DType::f8_e4m3},
                                    {kOdd, DType::bf16},
                                    {kDeep, DType::bf16},
                                    {kLatent, DType::bf16},
                                    {kLatent, DType::f8_e4m3}}) {
      Context c(s, DType::f32, weight, {150, 90});
      const size_t q_width = static_cast<size_t>(s.heads * (s.nope + s.rope));
      const size_t out_width = static_cast<size_t>(s.heads * s.value);
      const auto q = naive::random_floats(150 * q_width, 8);
      const auto whole = attend(machine(1, compute), absorbed_, c, q, {c.sequence(0, 0, 150, 0)});
      for (const int threads : {2, 3})
        ASSERT_EQ(whole,
                  attend(machine(threads, compute), absorbed_, c, q, {c.sequence(0, 0, 150, 0)}));
      int32_t begin = 0;
      for (const int32_t n : {1, 36, 64, 7, 42}) {
        // Behind a stranger's rows.
        std::vector<float> part = naive::random_floats(5 * q_width, 99);
        part.insert(
            part.end(),
            q.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin) * q_width),
            q.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin + n) * q_width));
        const auto out = attend(machine(1, compute), absorbed_, c, part,
                                {c.sequence(1, 0, 5, 85), c.sequence(0, 5, n, begin)});
        ASSERT_TRUE(std::equal(
            out.begin() + static_cast<std::ptrdiff_t>(5 * out_width), out.end(),
            whole.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin) * out_width)))
            << "rows " << begin << "+" << n;
        begin += n;
      }
      ASSERT_EQ(begin, 150);
    }
}

TEST_P(Mla, long_context_has_the_same_bits_shared_out_to_lanes_or_in_a_batch) {
  Context c(kTiny, DType::bf16, DType::bf16, {1400, 1400});
  const size_t q_width = 4 * 48, out_width = 4 * 24;
  const auto q = naive::random_floats(20 * q_width, 8);
  const std::vector<float> last(q.end() - static_cast<std::ptrdiff_t>(q_width), q.end());
  const auto alone = attend(machine(), absorbed_, c, last, {c.sequence(0, 0, 1, 1399)});
  for (const int threads : {2, 3})
    ASSERT_EQ(alone, attend(machine(threads), absorbed_, c, last, {c.sequence(0, 0, 1, 1399)}))
        << threads;
  const auto batch =
      attend(machine(2), absorbed_, c, q, {c.sequence(1, 0, 19, 1300), c.sequence(0, 19, 1, 1399)});
  ASSERT_TRUE(
      std::equal(alone.begin(), alone.end(), batch.end() - static_cast<std::ptrdiff_t>(out_width)));
}

TEST_P(Mla, bfloat16_products_stay_near_float32) {
  for (const Shape& s : {kTiny, kOdd, kWide})
    for (const auto& [cache, weight] : {std::pair{DType::f32, DType::bf16},
                                        {DType::bf16, DType::bf16},
                                        {DType::f32, DType::f8_e4m3}}) {
      Context c(s, cache, weight, {700});
      const auto q =
          naive::random_floats(static_cast<size_t>(100 * s.heads * (s.nope + s.rope)), 8);
      const auto exact = attend(machine(), absorbed_, c, q, {c.sequence(0, 0, 100, 600)});
      const auto rounded =
          attend(machine(1, Compute::bfloat16), absorbed_, c, q, {c.sequence(0, 0, 100, 600)});
      double error = 0, size = 0;
      for (size_t i = 0; i < exact.size(); ++i)
        error += std::pow(rounded[i] - exact[i], 2), size += std::pow(exact[i], 2);
      // Latents and weights of bf16 expand without a rounding where scores are float32.
      if (cache == DType::f32) {
        EXPECT_GT(error, 0.0) << "nothing was rounded";
      }
      EXPECT_LT(std::sqrt(error / size), 0.05);
    }
}

INSTANTIATE_TEST_SUITE_P(AllTables, Mla,
                         testing::Combine(testing::ValuesIn(naive::tables()), testing::Bool()),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) +
                                  (std::get<1>(tested.param) ? "_absorbed" : "_expanded");
                         });

}  // namespace
}  // namespace fathom
