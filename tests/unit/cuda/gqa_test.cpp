// Do grouped heads attend on a GPU to the keys and values of their group, on the tensor cores as
// exactly? And has a row the same bits alone, in a prompt however cut, in any batch, and whether
// the spans of its context are computed apart or together? The reference is softmax attention in
// double precision over the plain keys and values.
#include <bit>
#include <numeric>

#include "kernels/cuda/flash/grouped.h"
#include "on_gpu.h"

namespace fathom {
namespace {

using cuda::flash::Spans;

struct Shape {
  int32_t heads, first_kv_head, kv_heads, cache_heads, dim, block_tokens;
};
constexpr Shape kLlama{8, 1, 2, 4, 128, 16};
constexpr Shape kQwen{14, 0, 2, 2, 64, 64};  // 7 heads to a key
constexpr Shape kOdd{9, 0, 3, 3, 22, 5};
constexpr float kScale = 0.12f;

// A piece of a prompt: `rows` queries from `position` on, of sequence `of`; position -1 is padding.
struct Piece {
  size_t of;
  int32_t rows, position;
};

class GqaOnGpu : public OnGpu {
 protected:
  // Sequences of these lengths in a shuffled paged cache, whose unused places hold NaN.
  void make(Shape s, DType dtype, const std::vector<int32_t>& lengths) {
    shape = s;
    blocks.clear();
    first_blocks.clear();
    BlockIndex next = 1;
    for (const int32_t length : lengths) {
      first_blocks.push_back(static_cast<int32_t>(blocks.size()));
      for (int32_t at = 0; at < length; at += s.block_tokens) blocks.push_back(next), next += 2;
      std::reverse(blocks.begin() + first_blocks.back(), blocks.end());
    }
    const auto count = static_cast<size_t>(next * s.block_tokens * width());
    cache.assign(count, NAN);
    const auto values = naive::random_floats(count, 5, 0.7f);
    for (size_t q = 0; q < lengths.size(); ++q)
      for (int32_t t = 0; t < lengths[q]; ++t)
        for (int32_t i = 0; i < width(); ++i) {
          const size_t at = index(q, t) + static_cast<size_t>(i);
          cache[at] = naive::rounded_bf16(values[at]);
        }
    std::vector<uint16_t> bits(cache.size(), 0x7FC0);
    for (size_t i = 0; i < cache.size(); ++i)
      if (!std::isnan(cache[i])) bits[i] = as_bf16({cache[i]})[0];
    params = {.sequences = {},
              .tables = {},
              .heads = s.heads,
              .first_kv_head = s.first_kv_head,
              .kv_heads = s.kv_heads,
              .cache = {.dtype = dtype,
                        .block_stride = s.block_tokens * width(),
                        .block_tokens = s.block_tokens,
                        .heads = s.cache_heads,
                        .dim = s.dim},
              .scale = kScale};
    params.cache.base = dtype == DType::bf16 ? static_cast<void*>(put(bits)) : put(cache);
    blocks_there = put(blocks);
  }
  int64_t width() const { return int64_t{2} * shape.cache_heads * shape.dim; }
  int32_t out_width() const { return shape.heads * shape.dim; }
  size_t index(size_t sequence, int32_t position) const {
    const int64_t block =
        blocks[static_cast<size_t>(first_blocks[sequence] + position / shape.block_tokens)];
    return static_cast<size_t>((block * shape.block_tokens + position % shape.block_tokens) *
                               width());
  }

  // Queries depend on (sequence, position), so a row is the same in every batch.
  std::vector<float> queries(const std::vector<Piece>& pieces) const {
    std::vector<float> q;
    for (const Piece& piece : pieces)
      for (int32_t r = 0; r < piece.rows; ++r) {
        const auto row = naive::random_floats(
            static_cast<size_t>(out_width()),
            static_cast<uint32_t>(piece.of * 10007) + static_cast<uint32_t>(piece.position + r));
        q.insert(q.end(), row.begin(), row.end());
      }
    return q;
  }

  std::vector<float> attend(const std::vector<Piece>& pieces, Compute compute,
                            DType out_dtype = DType::f32, int32_t context = 0, int spans = -1) {
    std::vector<AttentionRun> runs;
    std::vector<int32_t> row_runs;
    AttentionTables t{.context_max = context};
    for (const Piece& piece : pieces) {
      runs.push_back({t.rows_total, piece.rows, piece.position,
                      piece.position < 0 ? 1 << 28 : first_blocks[piece.of]});
      row_runs.insert(row_runs.end(), static_cast<size_t>(piece.rows), t.count++);
      t.rows_total += piece.rows;
      t.rows_max = std::max(t.rows_max, piece.rows);
      t.context_max = std::max(t.context_max, piece.position + piece.rows);
    }
    t.runs = put(runs);
    t.row_runs = put(row_runs);
    t.blocks = blocks_there;
    GqaParams p = params;
    p.tables = t;
    p.q = put(queries(pieces));
    p.q_stride = p.out_stride = out_width();
    const auto count = static_cast<size_t>(t.rows_total) * static_cast<size_t>(out_width());
    p.out_dtype = out_dtype;
    p.out =
        out_dtype == DType::bf16 ? static_cast<void*>(room<uint16_t>(count)) : room<float>(count);
    if (spans >= 0)
      cuda::flash::gqa(context_of(compute), p, static_cast<Spans>(spans));
    else
      ops().gqa(context_of(compute), p);
    return out_dtype == DType::bf16 ? get_bf16(p.out, count)
                                    : get(static_cast<const float*>(p.out), count);
  }
  OpContext context_of(Compute compute) { return OnGpu::context(compute); }

  std::vector<float> reference(const std::vector<Piece>& pieces, Compute compute) const {
    const auto q = queries(pieces);
    std::vector<float> out;
    size_t row = 0;
    const int32_t dim = shape.dim, group = shape.heads / shape.kv_heads;
    for (const Piece& piece : pieces)
      for (int32_t i = 0; i < piece.rows; ++i, ++row)
        for (int32_t h = 0; h < shape.heads; ++h) {
          const int32_t head = shape.first_kv_head + h / group;
          std::vector<double> p, sums(static_cast<size_t>(dim));
          double largest = -1e300, total = 0;
          for (int32_t t = 0; piece.position >= 0 && t <= piece.position + i; ++t) {
            const float* query =
                &q[row * static_cast<size_t>(out_width()) + static_cast<size_t>(h * dim)];
            const float* key = &cache[index(piece.of, t) + static_cast<size_t>(head * dim)];
            double score = 0;
            for (int32_t e = 0; e < dim; ++e)
              score += double{naive::x_at(query[e], compute)} * double{key[e]};
            p.push_back(score * double{kScale});
            largest = std::max(largest, p.back());
          }
          for (double& v : p) total += v = std::exp(v - largest);
          for (size_t t = 0; t < p.size(); ++t) {
            const float* value = &cache[index(piece.of, static_cast<int32_t>(t)) +
                                        static_cast<size_t>((shape.cache_heads + head) * dim)];
            for (int32_t e = 0; e < dim; ++e)
              sums[static_cast<size_t>(e)] += p[t] / total * double{value[e]};
          }
          for (const double v : sums) out.push_back(static_cast<float>(v));
        }
    return out;
  }

  void expect_near(const std::vector<float>& got, const std::vector<float>& want, double bound) {
    const double e = relative_error(got, want);
    std::printf("  relative error %.2e\n", e);
    EXPECT_LT(e, bound);
    if (e < bound) return;
    const auto wide = static_cast<size_t>(shape.dim);
    int shown = 0;
    for (size_t i = 0; i + wide <= got.size() && shown < 6; i += wide) {
      const auto from = static_cast<std::ptrdiff_t>(i),
                 to = from + static_cast<std::ptrdiff_t>(wide);
      const double off = relative_error({got.begin() + from, got.begin() + to},
                                        {want.begin() + from, want.begin() + to});
      if (off < 2 * bound) continue;
      ++shown;
      std::printf("  row %zu head %zu: off %.2e; got %g %g %g want %g %g %g\n",
                  i / wide / static_cast<size_t>(shape.heads),
                  i / wide % static_cast<size_t>(shape.heads), off, got[i], got[i + 1],
                  got[i + wide - 1], want[i], want[i + 1], want[i + wide - 1]);
    }
  }

  Shape shape{};
  std::vector<float> cache;
  std::vector<BlockIndex> blocks;
  std::vector<int32_t> first_blocks;
  const BlockIndex* blocks_there = nullptr;
  GqaParams params;
};

const std::vector<Piece> kMixed = kGpuIsEmulated
                                      ? std::vector<Piece>{{0, 1, 0},  {1, 131, 169}, {2, 1, 1299},
                                                           {0, 3, -1}, {3, 9, 507},   {2, 7, 1020}}
                                      : std::vector<Piece>{{0, 1, 0},  {1, 131, 169}, {2, 1, 1299},
                                                           {0, 3, -1}, {3, 257, 543}, {2, 40, 600}};

TEST_F(GqaOnGpu, one_row_is_right) {
  make(kLlama, DType::bf16, {1, 200});
  for (const int spans : {1, 2})
    for (const auto& pieces : {std::vector<Piece>{{0, 1, 0}}, std::vector<Piece>{{1, 1, 199}}})
      expect_near(attend(pieces, Compute::bfloat16, DType::f32, 0, spans),
                  reference(pieces, Compute::bfloat16), 4e-3);
}

// Beyond a span of 512 positions, with little to compute.
TEST_F(GqaOnGpu, short_contexts_equal_softmax_attention) {
  const std::vector<Piece> pieces = {{0, 1, 0}, {1, 70, 60}, {2, 1, 559}, {0, 3, -1}, {2, 9, 508}};
  for (const Shape& s : {kLlama, kQwen}) {
    make(s, DType::bf16, {1, 130, 560});
    const auto want = reference(pieces, Compute::bfloat16);
    for (const int spans : {1, 2})
      expect_near(attend(pieces, Compute::bfloat16, DType::f32, 0, spans), want, 4e-3);
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    make(kOdd, dtype, {1, 130, 560});
    expect_near(attend(pieces, Compute::float32), reference(pieces, Compute::float32), 1e-5);
  }
}

TEST_F(GqaOnGpu, equals_softmax_attention_on_the_tensor_cores) {
  for (const Shape& s : {kLlama, kQwen}) {
    make(s, DType::bf16, {1, 300, 1300, 800});
    const auto want = reference(kMixed, Compute::bfloat16);
    for (const int spans : {1, 2})
      expect_near(attend(kMixed, Compute::bfloat16, DType::f32, 0, spans), want, 4e-3);
    expect_near(attend(kMixed, Compute::bfloat16, DType::bf16), want, 6e-3);
  }
}

TEST_F(GqaOnGpu, equals_softmax_attention_exactly) {
  const std::vector<Piece> few = {{0, 1, 0}, {1, 5, 295}, {2, 1, 1299}, {0, 3, -1}, {3, 3, 510}};
  const auto& pieces = kGpuIsEmulated ? few : kMixed;
  for (const Shape& s : {kLlama, kQwen, kOdd})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      make(s, dtype, {1, 300, 1300, 800});
      expect_near(attend(pieces, Compute::float32), reference(pieces, Compute::float32), 1e-5);
    }
}

void expect_same(const std::vector<float>& got, size_t at, const std::vector<float>& whole,
                 size_t from, size_t count, const std::string& what) {
  for (size_t i = 0; i < count; ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(got[at + i]), std::bit_cast<uint32_t>(whole[from + i]))
        << what << ": number " << i << " got " << got[at + i] << " want " << whole[from + i];
}

TEST_F(GqaOnGpu, row_has_the_same_bits_alone_in_a_prompt_and_in_a_batch) {
  for (const Shape& s : {kLlama, kQwen, kOdd}) {
    const int32_t length = kGpuIsEmulated ? 270 : 1700;
    make(s, DType::bf16, {length, 90});
    const auto wide = static_cast<size_t>(out_width());
    const auto whole = attend({{0, length, 0}}, Compute::bfloat16);
    for (const int32_t row : {0, 1, 127, 511, 512, 513, 1023, 1024, length - 1})
      if (row < length)
        expect_same(attend({{0, 1, row}}, Compute::bfloat16), 0, whole,
                    static_cast<size_t>(row) * wide, wide, "row " + std::to_string(row) + " alone");
    int32_t begin = 0;
    for (const int32_t n : kGpuIsEmulated ? std::vector{1, 127, 129, 13}
                                          : std::vector{1, 36, 128, 347, 127, 129, 932}) {
      const auto got = attend({{1, 5, 85}, {0, 2, -1}, {0, n, begin}, {1, 1, 89}},
                              Compute::bfloat16, DType::f32, 9000);
      expect_same(got, 7 * wide, whole, static_cast<size_t>(begin) * wide,
                  static_cast<size_t>(n) * wide, "cut at " + std::to_string(begin));
      for (size_t i = 5 * wide; i < 7 * wide; ++i) ASSERT_EQ(got[i], 0.0f) << "padding";
      begin += n;
    }
    ASSERT_EQ(begin, length);
  }
}

TEST_F(GqaOnGpu, short_prompt_has_the_same_bits_row_by_row_and_cut) {
  make(kQwen, DType::bf16, {530});
  const auto wide = static_cast<size_t>(out_width());
  const auto whole = attend({{0, 530, 0}}, Compute::bfloat16);
  for (const int32_t row : {0, 127, 511, 512, 529})
    expect_same(attend({{0, 1, row}}, Compute::bfloat16), 0, whole, static_cast<size_t>(row) * wide,
                wide, "row " + std::to_string(row) + " alone");
  int32_t begin = 0;
  for (const int32_t n : {36, 347, 147}) {
    const auto got = attend({{0, 2, -1}, {0, n, begin}, {0, 1, 5}}, Compute::bfloat16);
    expect_same(got, 2 * wide, whole, static_cast<size_t>(begin) * wide,
                static_cast<size_t>(n) * wide, "cut at " + std::to_string(begin));
    begin += n;
  }
  ASSERT_EQ(begin, 530);
}

// More runs than one launch takes.
TEST_F(GqaOnGpu, row_has_the_same_bits_among_many) {
  make(kQwen, DType::bf16, {700, 90});
  const auto wide = static_cast<size_t>(out_width());
  std::vector<Piece> pieces;
  // Most of them have little to attend to where that takes long.
  const int32_t first = kGpuIsEmulated ? 40 : 0, last = kGpuIsEmulated ? 500 : 0;
  for (int32_t i = 0; i < 300; ++i)
    pieces.push_back(i % 7 == 3          ? Piece{0, 1, -1}
                     : first == 0        ? Piece{0, 1, 2 * i + 1}
                     : i < 10 || i > 290 ? Piece{0, 1, last + i % 15}
                                         : Piece{0, 1, i % first});
  const auto whole = first == 0 ? attend({{0, 700, 0}}, Compute::bfloat16)
                                : attend({{0, first, 0}, {0, 15, last}}, Compute::bfloat16);
  const auto row_of = [&](int32_t position) {
    return static_cast<size_t>(position < last ? position : position - last + first);
  };
  for (const int spans : {0, 1, 2}) {
    if (kGpuIsEmulated && spans == 0) continue;
    const auto got = attend(pieces, Compute::bfloat16, DType::f32, 0, spans);
    for (size_t i = 0; i < pieces.size(); ++i)
      if (pieces[i].position >= 0)
        expect_same(got, i * wide, whole, row_of(pieces[i].position) * wide, wide,
                    "run " + std::to_string(i));
      else
        for (size_t e = 0; e < wide; ++e) ASSERT_EQ(got[i * wide + e], 0.0f) << "padding " << i;
  }
}

}  // namespace
}  // namespace fathom
