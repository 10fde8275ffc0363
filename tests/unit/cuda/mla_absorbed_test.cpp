// Is absorbed attention of any shape right on a GPU, and are a row's bits its own? This is about
// the kernels without tensor cores (their fast siblings have mla_absorbed_fast_test.cpp): odd
// widths, every type of weight and of cache. Blocks nobody owns, positions beyond a context
// and outputs are not-a-number beforehand; tables end in a block that does not exist.
#include <random>

#include "on_gpu.h"

namespace fathom {
namespace {

struct Shape {
  int32_t heads, nope, rope, value, rank, block_tokens;
  int32_t q_width() const { return heads * (nope + rope); }
  int32_t out_width() const { return heads * value; }
  int32_t width() const { return rank + rope; }
};
constexpr Shape kTiny{4, 32, 16, 24, 64, 16}, kOdd{11, 17, 10, 19, 33, 5},
    kWide{18, 48, 16, 80, 112, 32}, kOne{1, 16, 8, 16, 16, 1}, kMany{128, 24, 8, 16, 48, 3},
    kFull{6, 192, 64, 128, 512, 64};

struct Queries {  // rows of one sequence, from a position on
  int32_t sequence, rows, position;
};
constexpr Queries kPadding{-1, 1, -1};
constexpr float kScale = 0.17f;
constexpr BlockIndex kNoBlock = 2'000'000'000;  // reading it would fault
constexpr int32_t kOutGap = 5;                  // values between rows of out

class MlaAbsorbedOnGpu : public OnGpu {
 protected:
  void make(const Shape& s, DType cache_type, DType weight_type,
            const std::vector<int32_t>& lengths, uint32_t seed) {
    shape = s;
    cache_dtype = cache_type;
    kv_b = naive::random_weight(weight_type, s.heads * (s.nope + s.value), s.rank, seed,
                                weight_type == DType::f8_e4m3 ? 3 : 0);
    weight = put(kv_b.view);
    std::mt19937 generator(seed);
    std::vector<BlockIndex> order;
    for (const int32_t n : lengths)
      for (int32_t at = 0; at <= n; at += s.block_tokens)
        order.push_back(static_cast<BlockIndex>(order.size()));
    std::shuffle(order.begin(), order.end(), generator);
    const int64_t token = latent_stride(cache_type, s.rank, s.rope);
    stride = s.block_tokens * token + (cache_type == DType::i8 ? 8 : 7);
    std::vector<float> pool(order.size() * static_cast<size_t>(stride), NAN);
    std::vector<uint8_t> byte_pool(pool.size(), 0xFF);
    tables.clear();
    latents.clear();
    for (const int32_t n : lengths) {
      const auto size = static_cast<size_t>(n * s.width());
      latents.push_back(
          naive::random_floats(size, seed + static_cast<uint32_t>(latents.size()), 0.5f));
      if (cache_type == DType::bf16)
        for (float& v : latents.back()) v = naive::rounded_bf16(v);
      std::vector<uint8_t> bytes;
      if (cache_type == DType::i8) bytes = as_latent_bytes(latents.back(), s.rank, s.rope);
      tables.emplace_back();
      for (int32_t at = 0; at < n; at += s.block_tokens) {
        tables.back().push_back(order.back());
        order.pop_back();
        const int32_t some = std::min(s.block_tokens, n - at);
        if (cache_type == DType::i8)
          std::copy_n(bytes.begin() + at * token, some * token,
                      byte_pool.begin() + tables.back().back() * stride);
        else
          std::copy_n(latents.back().begin() + int64_t{at} * s.width(), some * s.width(),
                      pool.begin() + tables.back().back() * stride);
      }
      tables.back().push_back(kNoBlock);
    }
    cache = cache_type == DType::bf16 ? static_cast<void*>(put(as_bf16(pool)))
            : cache_type == DType::i8 ? static_cast<void*>(put(byte_pool))
                                      : put(pool);
  }

  // Outputs of all rows, dense. Runs may stand anywhere in q and out: `behind` rows of nobody come
  // first, and stay as they were.
  std::vector<float> attend(const std::vector<Queries>& runs, const std::vector<float>& q,
                            Compute compute = Compute::float32, DType out_dtype = DType::f32,
                            int32_t behind = 0, int32_t bound = 0) {
    std::vector<AttentionRun> list;
    std::vector<BlockIndex> blocks;
    std::vector<int32_t> row_runs;
    AttentionTables t;
    for (const Queries& run : runs) {
      list.push_back({.first_row = behind + t.rows_total,
                      .rows = run.rows,
                      .position = run.position,
                      .first_block = static_cast<int32_t>(blocks.size())});
      const std::vector<BlockIndex> none = {kNoBlock};
      const auto& table = run.sequence < 0 ? none : tables[static_cast<size_t>(run.sequence)];
      blocks.insert(blocks.end(), table.begin(), table.end());
      row_runs.insert(row_runs.end(), static_cast<size_t>(run.rows), t.count);
      ++t.count;
      t.rows_total += run.rows;
      t.rows_max = std::max(t.rows_max, run.rows);
      t.context_max = std::max({t.context_max, run.position + run.rows, bound});
    }
    t.runs = put(list);
    t.blocks = put(blocks);
    t.row_runs = put(row_runs);
    std::vector<float> spaced(static_cast<size_t>(behind * shape.q_width()), NAN);
    spaced.insert(spaced.end(), q.begin(), q.end());
    const int32_t out_stride = shape.out_width() + kOutGap;
    const auto count = static_cast<size_t>((behind + t.rows_total) * out_stride);
    auto* out = room<uint8_t>(count * static_cast<size_t>(dtype_bytes(out_dtype)));
    ops().mla_absorbed(context(compute), {.sequences = {},
                                          .tables = t,
                                          .q = put(spaced),
                                          .q_stride = shape.q_width(),
                                          .heads = shape.heads,
                                          .nope = shape.nope,
                                          .value = shape.value,
                                          .kv_b = weight,
                                          .cache = {cache, cache_dtype, stride, shape.block_tokens,
                                                    shape.rank, shape.rope},
                                          .scale = kScale,
                                          .out = out,
                                          .out_dtype = out_dtype,
                                          .out_stride = out_stride});
    const auto all = out_dtype == DType::bf16 ? get_bf16(out, count)
                                              : get(reinterpret_cast<const float*>(out), count);
    std::vector<float> rows;
    int touched = 0;
    for (size_t i = 0; i < count; ++i) {
      const auto row = static_cast<int32_t>(i) / out_stride,
                 column = static_cast<int32_t>(i) % out_stride;
      if (row >= behind && column < shape.out_width())
        rows.push_back(all[i]);
      else
        touched += !std::isnan(all[i]);
    }
    EXPECT_EQ(touched, 0) << "values outside the runs' rows of out";
    return rows;
  }

  // One head of one query in double precision.
  std::vector<float> reference(int32_t sequence, int32_t position, const float* q,
                               int32_t head) const {
    const Shape& s = shape;
    const auto& c = latents[static_cast<size_t>(sequence)];
    const int32_t first = head * (s.nope + s.value);
    std::vector<double> query(static_cast<size_t>(s.width())), sums(static_cast<size_t>(s.rank)), p;
    for (int32_t r = 0; r < s.rank; ++r)
      for (int32_t n = 0; n < s.nope; ++n)
        query[static_cast<size_t>(r)] += q[n] * kv_b.at(first + n, r);
    for (int32_t i = 0; i < s.rope; ++i) query[static_cast<size_t>(s.rank + i)] = q[s.nope + i];
    const auto latent = [&](int32_t t, int32_t i) {
      return double{c[static_cast<size_t>(t * s.width() + i)]};
    };
    double largest = -INFINITY, sum = 0;
    for (int32_t t = 0; t <= position; ++t) {
      double score = 0;
      for (int32_t i = 0; i < s.width(); ++i) score += query[static_cast<size_t>(i)] * latent(t, i);
      p.push_back(score * double{kScale});
      largest = std::max(largest, p.back());
    }
    for (double& v : p) sum += v = std::exp(v - largest);
    for (int32_t t = 0; t <= position; ++t)
      for (int32_t i = 0; i < s.rank; ++i)
        sums[static_cast<size_t>(i)] += p[static_cast<size_t>(t)] / sum * latent(t, i);
    std::vector<float> out;
    for (int32_t v = 0; v < s.value; ++v) {
      double y = 0;
      for (int32_t i = 0; i < s.rank; ++i)
        y += sums[static_cast<size_t>(i)] * kv_b.at(first + s.nope + v, i);
      out.push_back(static_cast<float>(y));
    }
    return out;
  }

  std::vector<float> queries(const std::vector<Queries>& runs, uint32_t seed) const {
    size_t rows = 0;
    for (const Queries& run : runs) rows += static_cast<size_t>(run.rows);
    return naive::random_floats(rows * static_cast<size_t>(shape.q_width()), seed, 0.4f);
  }

  // Three heads of every row within `bound`; padded rows are zeros.
  void check(const std::vector<Queries>& runs, Compute compute, DType out_dtype, double bound) {
    const auto q = queries(runs, 21);
    const auto out = attend(runs, q, compute, out_dtype, 3);
    int32_t row = 0;
    for (const Queries& run : runs)
      for (int32_t r = 0; r < run.rows; ++r, ++row) {
        const float* got = &out[static_cast<size_t>(row * shape.out_width())];
        for (int32_t i = 0; run.position < 0 && i < shape.out_width(); ++i)
          ASSERT_EQ(got[i], 0.0f) << "padded row " << row;
        for (int32_t n = 0; run.position >= 0 && n < 3; ++n) {
          const int32_t head = n == 0 ? 0 : n == 1 ? shape.heads - 1 : row * 7 % shape.heads;
          const auto want = reference(
              run.sequence, run.position + r,
              &q[static_cast<size_t>(row * shape.q_width() + head * (shape.nope + shape.rope))],
              head);
          const std::vector<float> mine(got + head * shape.value, got + (head + 1) * shape.value);
          ASSERT_LT(relative_error(mine, want), bound)
              << "row " << row << " position " << run.position + r << " head " << head << " rank "
              << shape.rank << " got " << mine[0] << ' ' << mine[1] << " want " << want[0] << ' '
              << want[1];
        }
      }
  }

  Shape shape{};
  DType cache_dtype = DType::f32;
  naive::Owned kv_b;
  Weight weight;
  std::vector<std::vector<BlockIndex>> tables;
  std::vector<std::vector<float>> latents;
  void* cache = nullptr;
  int64_t stride = 0;
};

const std::vector<int32_t> kLengths = {1, 130, 300, 2, 129};
const std::vector<Queries> kRuns = {{0, 1, 0}, {1, 5, 125}, kPadding,    {2, 1, 299},
                                    {3, 2, 0}, {4, 1, 127}, {4, 1, 128}, kPadding};

TEST_F(MlaAbsorbedOnGpu, every_shape_and_type_of_weight_is_right) {
  for (const Shape& s : {kOne, kTiny, kOdd, kWide, kMany, kFull})
    for (const DType type : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3}) {
      SCOPED_TRACE(naive::name_of(type));
      make(s, DType::f32, type, kLengths, 40);
      // Patterns of f16 reach 2: scores that large leave one position almost alone, and errors of
      // their last bits count.
      check(kRuns, Compute::float32, DType::f32, type == DType::f16 ? 1e-3 : 2e-5);
      if (HasFailure()) return;
    }
}

TEST_F(MlaAbsorbedOnGpu, bf16_caches_are_read_as_they_are) {
  for (const Shape& s : {kTiny, kOdd, kMany})
    for (const DType type : {DType::bf16, DType::f8_e4m3}) {
      SCOPED_TRACE(naive::name_of(type));
      make(s, DType::bf16, type, kLengths, 41);
      check(kRuns, Compute::float32, DType::f32, 2e-5);
      check(kRuns, Compute::bfloat16, DType::bf16, 0.02);
      if (HasFailure()) return;
    }
}

TEST_F(MlaAbsorbedOnGpu, caches_of_8_bits_are_read_as_what_they_stand_for) {
  for (const Shape& s : {kTiny, kOdd, kWide, kOne, kFull}) {
    make(s, DType::i8, DType::bf16, kLengths, 45);
    check(kRuns, Compute::float32, DType::f32, 2e-5);
    if (HasFailure()) return;
    // The very bits of a float32 cache that holds those values.
    const auto q = queries(kRuns, 25);
    const auto got = attend(kRuns, q);
    std::vector<float> pool(static_cast<size_t>(stride) * 64, NAN);
    stride = int64_t{s.block_tokens} * s.width();
    for (size_t n = 0; n < latents.size(); ++n)
      for (size_t b = 0; b + 1 < tables[n].size(); ++b) {
        const auto at = static_cast<int64_t>(b) * stride;
        const auto left = static_cast<int64_t>(latents[n].size()) - at;
        const auto to = static_cast<size_t>(tables[n][b] * stride);
        if (pool.size() < to + static_cast<size_t>(stride))
          pool.resize(to + static_cast<size_t>(stride), NAN);
        std::copy_n(latents[n].begin() + at, std::min(stride, left),
                    pool.begin() + static_cast<int64_t>(to));
      }
    cache = put(pool);
    cache_dtype = DType::f32;
    const auto want = attend(kRuns, q);
    ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
        << "rank " << s.rank;
  }
}

TEST_F(MlaAbsorbedOnGpu, row_has_the_same_bits_alone_cut_moved_and_padded) {
  for (const Shape& s : {kTiny, kOdd, kWide}) {
    make(s, DType::f32, DType::bf16, {150, 700}, 42);
    const std::vector<Queries> runs = {{0, 37, 113}, {1, 1, 699}};
    const auto q = queries(runs, 22);
    const auto whole = attend(runs, q);
    const auto wide = static_cast<std::ptrdiff_t>(s.q_width());
    const auto same = [&](const std::vector<float>& got, int32_t row, const char* what) {
      const size_t size = got.size() * sizeof(float);
      ASSERT_EQ(std::memcmp(got.data(), &whole[static_cast<size_t>(row * s.out_width())], size), 0)
          << what << " from row " << row << " on, rank " << s.rank;
    };
    for (const int32_t r : {0, 1, 36}) {
      const std::vector<float> mine(q.begin() + r * wide, q.begin() + (r + 1) * wide);
      same(attend({{0, 1, 113 + r}}, mine), r, "alone");
      same(attend({{0, 1, 113 + r}}, mine, Compute::float32, DType::f32, 9, 5000), r, "moved");
    }
    same(attend({{0, 20, 113}, {0, 17, 133}, {1, 1, 699}}, q), 0, "cut");
    std::vector<float> padded(static_cast<size_t>(6 * wide), NAN);
    padded.insert(padded.end(), q.begin(), q.end());
    auto more = runs;
    more.insert(more.begin(), 6, kPadding);
    auto behind = attend(more, padded);
    behind.erase(behind.begin(), behind.begin() + int64_t{6} * s.out_width());
    same(behind, 0, "behind padding");
  }
}

TEST_F(MlaAbsorbedOnGpu, broken_latent_within_the_context_shows) {
  make(kTiny, DType::f32, DType::bf16, {40}, 43);
  auto* first = static_cast<float*>(cache) + tables[0][0] * stride;
  const std::vector<float> broken = {NAN};
  device->upload(first, broken.data(), sizeof(float));
  for (const float v : attend({{0, 1, 39}}, queries({{0, 1, 39}}, 23))) ASSERT_TRUE(std::isnan(v));
}

TEST_F(MlaAbsorbedOnGpu, more_rows_than_are_taken_at_once_and_none_at_all) {
  make(kOne, DType::f32, DType::bf16, {1100}, 44);
  const std::vector<Queries> runs = {{0, 1100, 0}};
  const auto q = queries(runs, 24);
  const auto out = attend(runs, q);
  for (const int32_t row : {0, 1, 1022, 1023, 1024, 1025, 1099}) {
    const auto want = reference(0, row, &q[static_cast<size_t>(row * shape.q_width())], 0);
    const auto* got = &out[static_cast<size_t>(row * shape.out_width())];
    EXPECT_LT(relative_error({got, got + shape.value}, want), 2e-5) << row;
  }
  ops().mla_absorbed(context(), {});
}

}  // namespace
}  // namespace fathom
