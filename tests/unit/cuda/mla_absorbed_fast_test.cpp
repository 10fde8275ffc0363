// Does absorbed attention on tensor cores compute what softmax attention over the cached context
// is, and are a row's bits its own? Contexts lie in shuffled blocks; blocks nobody owns, positions
// beyond a context and outputs are not-a-number beforehand, tables end in a block that does not
// exist. Rows are held to double-precision sums; bits are compared between batches, places, bounds
// and chunks.
#include <random>

#include "kernels/cuda/mla/fast.h"
#include "on_gpu.h"

namespace fathom {
namespace {

constexpr int32_t kRank = 512, kRope = 64, kNope = 128, kValue = 128, kWidth = kRank + kRope;
constexpr int32_t kHeadWidth = kNope + kRope, kPair = kNope + kValue;
constexpr float kScale = 0.1352f;

struct Shape {
  int32_t heads, block_tokens;
  DType weights = DType::bf16;
  int64_t gap = 0;            // elements between blocks
  DType cache = DType::bf16;  // or i8
};

struct Queries {  // of queries
  int32_t sequence, rows, position;
  bool operator==(const Queries&) const = default;
};
constexpr Queries kPadding = {-1, 1, -1};

class MlaAbsorbedFastOnGpu : public OnGpu {
 protected:
  // Sequences of these lengths, in blocks dealt out at random.
  void make(const Shape& s, const std::vector<int32_t>& lengths, uint32_t seed) {
    shape = s;
    std::mt19937 generator(seed);
    kv_b = naive::random_weight(s.weights, s.heads * kPair, kRank, seed + 1);
    if (s.weights == DType::bf16)
      for (size_t i = 0; i < kv_b.bytes.size(); i += 2) {  // times 1/8: scores of a sane size
        uint16_t h;
        std::memcpy(&h, &kv_b.bytes[i], 2);
        if ((h & 0x7F80) > 0x0180) h = static_cast<uint16_t>(h - 0x0180);
        std::memcpy(&kv_b.bytes[i], &h, 2);
      }
    for (float& v : kv_b.scales) v *= 1.0f / 32;
    weight = put(kv_b.view);
    tables.clear();
    int32_t count = 1;
    for (const int32_t length : lengths)
      count += (length + s.block_tokens - 1) / s.block_tokens + 1;
    std::vector<BlockIndex> order;
    for (int32_t b = 0; b < count; ++b) order.push_back(b);
    std::shuffle(order.begin(), order.end(), generator);
    const int64_t token = latent_stride(s.cache, kRank, kRope);
    stride = s.block_tokens * token + s.gap;
    std::vector<uint16_t> pool(s.cache == DType::i8 ? 0 : static_cast<size_t>(count * stride),
                               0x7FC1);
    std::vector<uint8_t> byte_pool(s.cache == DType::i8 ? static_cast<size_t>(count * stride) : 0,
                                   0xFF);
    size_t next = 0;
    latents.clear();
    for (const int32_t length : lengths) {
      latents.push_back(naive::random_floats(static_cast<size_t>(length) * kWidth,
                                             seed + 7 * static_cast<uint32_t>(latents.size()),
                                             0.7f));
      std::vector<uint8_t> bytes;
      if (s.cache == DType::i8) bytes = as_latent_bytes(latents.back(), kRank, kRope);
      for (float& v : latents.back()) v = naive::rounded_bf16(v);
      const auto bits = as_bf16(latents.back());
      tables.emplace_back();
      for (int32_t at = 0; at < length; at += s.block_tokens) {
        tables.back().push_back(order[next++]);
        const int32_t some = std::min(s.block_tokens, length - at);
        if (s.cache == DType::i8)
          std::copy_n(bytes.begin() + at * token, some * token,
                      byte_pool.begin() + tables.back().back() * stride);
        else
          std::copy_n(bits.begin() + int64_t{at} * kWidth, some * kWidth,
                      pool.begin() + tables.back().back() * stride);
      }
      tables.back().push_back(2147480000);
      ++next;
    }
    cache = s.cache == DType::i8 ? static_cast<void*>(put(byte_pool)) : put(pool);
  }

  // Outputs of all rows, [rows, heads * 128], rows in the order of the runs.
  std::vector<float> attend(const std::vector<Queries>& runs, const std::vector<float>& q,
                            DType out_dtype = DType::f32, int32_t bound = 0) {
    std::vector<AttentionRun> list;
    std::vector<BlockIndex> blocks;
    std::vector<int32_t> row_runs;
    AttentionTables t;
    for (const Queries& run : runs) {
      list.push_back({.first_row = t.rows_total,
                      .rows = run.rows,
                      .position = run.position,
                      .first_block = static_cast<int32_t>(blocks.size())});
      const std::vector<BlockIndex> none = {2147480000};
      const auto& table = run.sequence < 0 ? none : tables[static_cast<size_t>(run.sequence)];
      blocks.insert(blocks.end(), table.begin(), table.end());
      for (int32_t r = 0; r < run.rows; ++r) row_runs.push_back(t.count);
      ++t.count;
      t.rows_total += run.rows;
      t.rows_max = std::max(t.rows_max, run.rows);
      t.context_max = std::max(t.context_max, run.position + run.rows);
    }
    t.context_max = std::max(t.context_max, bound);
    t.runs = put(list);
    t.blocks = put(blocks);
    t.row_runs = put(row_runs);
    const int32_t width = shape.heads * kValue, out_stride = width + 16;
    const size_t out_count = static_cast<size_t>(t.rows_total) * static_cast<size_t>(out_stride);
    const size_t size = static_cast<size_t>(dtype_bytes(out_dtype));
    auto* out = room<uint8_t>(out_count * size);
    const bool taken = cuda::mla_absorbed_fast(
        context(Compute::bfloat16),
        {.sequences = {},
         .tables = t,
         .q = put(q),
         .q_stride = shape.heads * kHeadWidth,
         .heads = shape.heads,
         .nope = kNope,
         .value = kValue,
         .kv_b = weight,
         .cache = {cache, shape.cache, stride, shape.block_tokens, kRank, kRope},
         .scale = kScale,
         .out = out,
         .out_dtype = out_dtype,
         .out_stride = out_stride});
    EXPECT_TRUE(taken);
    const auto wide = out_dtype == DType::bf16
                          ? get_bf16(out, out_count)
                          : get(reinterpret_cast<const float*>(out), out_count);
    std::vector<float> rows;
    int touched = 0;
    for (int32_t r = 0; r < t.rows_total; ++r) {
      const auto row = wide.begin() + int64_t{r} * out_stride;
      rows.insert(rows.end(), row, row + width);
      for (int32_t i = width; i < out_stride; ++i) touched += !std::isnan(row[i]);
    }
    EXPECT_EQ(touched, 0) << "values between rows of out";
    return rows;
  }

  std::vector<float> queries(int32_t rows, uint32_t seed) const {
    return naive::random_floats(
        static_cast<size_t>(rows) * static_cast<size_t>(shape.heads * kHeadWidth), seed, 0.5f);
  }

  // One head of one row in double precision; and `rounding`, the doubt about the scores that its
  // positions have, weighed by their shares: where scores are far apart, errors are larger
  // (4,000 rows: off by 0.003, at most by 0.010 + rounding).
  std::vector<float> reference(const Queries& run, int32_t row, const float* q, int32_t head) {
    const auto& c = latents[static_cast<size_t>(run.sequence)];
    const int32_t limit = run.position + row + 1;
    std::vector<double> query(kWidth), sums(kRank), p;
    const float* mine = q + head * kHeadWidth;
    for (int32_t r = 0; r < kRank; ++r)
      for (int32_t n = 0; n < kNope; ++n)
        query[static_cast<size_t>(r)] +=
            double{naive::rounded_bf16(mine[n])} * kv_b.at(head * kPair + n, r, Compute::bfloat16);
    for (int32_t i = 0; i < kRope; ++i) query[static_cast<size_t>(kRank + i)] = mine[kNope + i];
    double largest = -1e300, sum = 0;
    std::vector<double> doubt;  // of a score: what rounding the query in latent space to bf16 does
    for (int32_t t = 0; t < limit; ++t) {
      double score = 0, squares = 0;
      for (int32_t i = 0; i < kWidth; ++i) {
        const double part =
            query[static_cast<size_t>(i)] * double{c[static_cast<size_t>(t * kWidth + i)]};
        score += part;
        squares += part * part;
      }
      p.push_back(score * double{kScale});
      doubt.push_back(std::sqrt(squares) * double{kScale} / 512);
      largest = std::max(largest, p.back());
    }
    for (double& v : p) sum += v = std::exp(v - largest);
    rounding = 0;
    for (size_t t = 0; t < p.size(); ++t) rounding += p[t] / sum * doubt[t];
    for (int32_t t = 0; t < limit; ++t)
      for (int32_t i = 0; i < kRank; ++i)
        sums[static_cast<size_t>(i)] +=
            p[static_cast<size_t>(t)] / sum * double{c[static_cast<size_t>(t * kWidth + i)]};
    std::vector<float> out;
    for (int32_t v = 0; v < kValue; ++v) {
      double y = 0;
      for (int32_t i = 0; i < kRank; ++i)
        y += sums[static_cast<size_t>(i)] * kv_b.at(head * kPair + kNope + v, i, Compute::bfloat16);
      out.push_back(static_cast<float>(y));
    }
    return out;
  }

  void check(const std::vector<Queries>& runs, uint32_t seed, DType out_dtype = DType::f32) {
    int32_t rows = 0;
    for (const Queries& run : runs) rows += run.rows;
    const auto q = queries(rows, seed + 3);
    const auto out = attend(runs, q, out_dtype);
    std::mt19937 generator(seed);
    int32_t first = 0;
    for (const Queries& run : runs) {
      for (int32_t r = 0; r < run.rows; ++r) {
        const float* got =
            &out[static_cast<size_t>(first + r) * static_cast<size_t>(shape.heads * kValue)];
        if (run.position < 0) {
          for (int32_t i = 0; i < shape.heads * kValue; ++i) ASSERT_EQ(got[i], 0.0f) << first + r;
          continue;
        }
        for (int32_t tries = 0; tries < std::min(shape.heads, 3); ++tries) {
          const int32_t head =
              tries == 0   ? 0
              : tries == 1 ? shape.heads - 1
                           : static_cast<int32_t>(generator() % static_cast<uint32_t>(shape.heads));
          const auto want = reference(
              run, r,
              &q[static_cast<size_t>(first + r) * static_cast<size_t>(shape.heads * kHeadWidth)],
              head);
          const std::vector<float> mine(got + head * kValue, got + (head + 1) * kValue);
          const double off = relative_error(mine, want);
          ASSERT_LT(off, 0.008 + 1.5 * rounding)
              << "heads " << shape.heads << " block " << shape.block_tokens << " row " << first + r
              << " position " << run.position + r << " head " << head << " got " << mine[0] << ' '
              << mine[1] << ' ' << mine[64] << " want " << want[0] << ' ' << want[1] << ' '
              << want[64] << " rounding " << rounding << " seed " << seed;
          worst = std::max(worst, off);
        }
      }
      first += run.rows;
    }
  }

  // Each run alone, and all with padding, another bound and another place: the same bits.
  void check_bits(const std::vector<Queries>& runs, uint32_t seed) {
    int32_t rows = 0;
    for (const Queries& run : runs) rows += run.rows;
    const auto q = queries(rows, seed + 3);
    const auto whole = attend(runs, q);
    const auto wide = static_cast<size_t>(shape.heads * kHeadWidth),
               out = static_cast<size_t>(shape.heads * kValue);
    const auto same = [&](const std::vector<float>& got, size_t from, size_t to, size_t count,
                          const char* what) {
      for (size_t i = 0; i < count * out; ++i)
        if (std::memcmp(&got[from * out + i], &whole[to * out + i], 4) != 0) {
          ADD_FAILURE() << what << ": row " << to + i / out << " column " << i % out << ' '
                        << got[from * out + i] << " is not " << whole[to * out + i] << " heads "
                        << shape.heads << " seed " << seed;
          return;
        }
    };
    size_t first = 0;
    for (const Queries& run : runs) {
      const auto count = static_cast<size_t>(run.rows);
      const std::vector<float> part(
          q.begin() + static_cast<std::ptrdiff_t>(first * wide),
          q.begin() + static_cast<std::ptrdiff_t>((first + count) * wide));
      same(attend({run}, part), 0, first, count, "alone");
      if (run.rows > 1) {  // each row as a run of its own
        std::vector<Queries> cut;
        for (int32_t r = 0; r < run.rows; ++r) cut.push_back({run.sequence, 1, run.position + r});
        same(attend(cut, part, DType::f32, 20000), 0, first, count, "cut");
      }
      first += count;
    }
    std::vector<Queries> more(37, kPadding);
    more.insert(more.end(), runs.begin(), runs.end());
    std::vector<float> q_more(37 * wide, NAN);
    q_more.insert(q_more.end(), q.begin(), q.end());
    same(attend(more, q_more, DType::f32, 9999), 37, 0, static_cast<size_t>(rows),
         "behind padding");
  }

  Shape shape;
  naive::Owned kv_b;
  Weight weight;
  std::vector<std::vector<BlockIndex>> tables;
  std::vector<std::vector<float>> latents;
  void* cache = nullptr;
  int64_t stride = 0;
  double worst = 0, rounding = 0;  // of a row's scores; relative
};

TEST_F(MlaAbsorbedFastOnGpu, smallest_contexts_are_right) {
  for (const int32_t length : {1, 16, 63, 64, 65, 130}) {
    make({16, 64}, {length}, chosen_seed());
    check({{0, 1, length - 1}}, chosen_seed());
    if (HasFatalFailure()) return;
  }
  RecordProperty("worst", std::to_string(worst));
  std::printf("worst relative error %.5f\n", worst);
}

TEST_F(MlaAbsorbedFastOnGpu, every_number_of_heads_is_right) {
  for (const int32_t heads : {1, 2, 16, 17, 32, 63, 64, 65, 128}) {
    make({heads, 64}, {700, 65}, chosen_seed());
    check({{0, 1, 699}, {1, 1, 64}, kPadding}, chosen_seed());
    if (HasFatalFailure()) return;
  }
  std::printf("worst relative error %.5f\n", worst);
}

TEST_F(MlaAbsorbedFastOnGpu, every_block_size_is_right) {
  for (const int32_t block : {16, 32, 48, 64, 80, 128, 256})
    for (const int64_t gap : {0, 40}) {
      make({32, block, DType::bf16, gap}, {1, 577, 1030, 127}, chosen_seed());
      check({{0, 1, 0}, {1, 1, 576}, {2, 1, 1029}, {3, 3, 124}, {2, 1, 511}, {2, 1, 512}},
            chosen_seed());
      if (HasFatalFailure()) return;
    }
  std::printf("worst relative error %.5f\n", worst);
}

TEST_F(MlaAbsorbedFastOnGpu, long_contexts_fp8_weights_and_bf16_outputs_are_right) {
  for (const int32_t heads : {16, 64, 128})
    for (const DType weights : {DType::bf16, DType::f8_e4m3}) {
      make({heads, 64, weights}, {4097, 2048, 1}, chosen_seed());
      check({{0, 1, 4096}, {1, 2, 2046}, {2, 1, 0}}, chosen_seed(), DType::bf16);
      if (HasFatalFailure()) return;
    }
  std::printf("worst relative error %.5f\n", worst);
}

TEST_F(MlaAbsorbedFastOnGpu, caches_of_8_bits_are_right) {
  for (const int32_t length : {1, 16, 17, 63, 64, 65, 130}) {
    make({16, 64, DType::bf16, 0, DType::i8}, {length}, chosen_seed());
    check({{0, 1, length - 1}}, chosen_seed());
    if (HasFatalFailure()) return;
  }
  for (const auto& [heads, block, gap] :
       {std::tuple{1, 16, 0}, {16, 48, 32}, {65, 64, 0}, {128, 256, 0}}) {
    make({heads, block, DType::f8_e4m3, gap, DType::i8}, {1, 577, 1100, 127}, chosen_seed());
    check({{0, 1, 0}, {1, 1, 576}, kPadding, {2, 1, 1099}, {3, 3, 124}, {2, 1, 511}, {2, 1, 1024}},
          chosen_seed());
    if (HasFatalFailure()) return;
  }
  std::printf("worst relative error %.5f\n", worst);
}

// Widened to bf16, which is what a cache of bf16 would hold: so are the outputs.
TEST_F(MlaAbsorbedFastOnGpu, caches_of_8_bits_give_the_bits_of_what_they_stand_for) {
  const std::vector<Queries> runs = {{0, 1, 699}, {1, 2, 63}, {0, 1, 127}};
  make({16, 64, DType::bf16, 0, DType::i8}, {700, 65}, 46);
  const auto q = queries(4, 47);
  const auto got = attend(runs, q);
  std::vector<uint16_t> pool(40 * 64 * kWidth, 0x7FC1);
  for (size_t n = 0; n < latents.size(); ++n) {
    const auto bits = as_bf16(latents[n]);
    for (size_t at = 0; at < bits.size(); at += 64 * kWidth)
      std::copy_n(bits.begin() + static_cast<std::ptrdiff_t>(at),
                  std::min<size_t>(64 * kWidth, bits.size() - at),
                  pool.begin() + int64_t{tables[n][at / (64 * kWidth)]} * 64 * kWidth);
  }
  cache = put(pool);
  shape.cache = DType::bf16;
  stride = 64 * kWidth;
  const auto want = attend(runs, q);
  EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0);
}

TEST_F(MlaAbsorbedFastOnGpu, row_has_the_same_bits_everywhere) {
  for (const int32_t heads : kGpuIsEmulated ? std::vector{5, 33, -16}  // below 0: of a cache
                                            : std::vector{5, 32, 128, -16}) {  // of 8 bits
    std::vector<int32_t> lengths;
    std::vector<Queries> runs;
    std::mt19937 generator(chosen_seed());
    for (int32_t i = 0; i < (kGpuIsEmulated ? 5 : 40); ++i) {
      auto length = static_cast<int32_t>(1 + generator() % (kGpuIsEmulated ? 200 : 700));
      if (i == (kGpuIsEmulated ? 4 : 7)) length = kGpuIsEmulated ? 1100 : 2100;
      const int32_t rows = i == 3 ? std::min(9, length) : 1;
      lengths.push_back(length);
      runs.push_back({i, rows, length - rows});
    }
    make({std::abs(heads), 64, DType::bf16, 0, heads < 0 ? DType::i8 : DType::bf16}, lengths,
         chosen_seed());
    check_bits(runs, chosen_seed());
  }
}

TEST_F(MlaAbsorbedFastOnGpu, other_shapes_are_left_alone) {
  make({16, 64}, {10}, chosen_seed());
  MlaParams p{.tables = {.rows_total = 1},
              .heads = 16,
              .nope = kNope,
              .value = kValue,
              .kv_b = weight,
              .cache = {cache, DType::bf16, stride, 64, kRank, kRope}};
  EXPECT_FALSE(cuda::mla_absorbed_fast(context(Compute::float32), p));
  p.cache.block_tokens = 24;
  EXPECT_FALSE(cuda::mla_absorbed_fast(context(Compute::bfloat16), p));
  p.cache.block_tokens = 64;
  p.cache.rank = 256;
  EXPECT_FALSE(cuda::mla_absorbed_fast(context(Compute::bfloat16), p));
}

}  // namespace
}  // namespace fathom
