// Does a prompt's expanded attention on a GPU compute softmax attention over the cached context, in
// the model's own shape on the tensor cores as in any other? And do neither the cut of a prompt,
// nor the batch, nor the windows of memory show in a row's bits? The reference expands every key
// and value in double precision.
#include <bit>
#include <numeric>

#include "kernels/cuda/flash/expanded.h"
#include "kernels/cuda/flash/places.h"
#include "on_gpu.h"

namespace fathom {
namespace {

struct Shape {
  int32_t heads, nope, rope, value, rank, block_tokens;
};
constexpr Shape kDeepSeek{3, 128, 64, 128, 512, 64};
constexpr Shape kOdd{3, 10, 6, 7, 33, 5};
constexpr float kScale = 0.07f;

// A piece of a prompt: `rows` queries from `position` on, of sequence `of`; position -1 is padding.
struct Piece {
  size_t of;
  int32_t rows, position;
};

class ExpandedOnGpu : public OnGpu {
 protected:
  // Sequences of these lengths in a shuffled paged cache, whose unused places hold NaN.
  void make(Shape s, DType cache_dtype, DType weight_dtype, const std::vector<int32_t>& lengths) {
    shape = s;
    dtype = cache_dtype;
    lengths_ = lengths;
    kv_b = naive::random_weight(weight_dtype, s.heads * (s.nope + s.value), s.rank, 77);
    if (weight_dtype == DType::bf16)
      for (size_t i = 0; i < kv_b.bytes.size(); i += 2) {  // 1/16 of their size: sums of 512
        uint16_t h;
        std::memcpy(&h, &kv_b.bytes[i], 2);
        if ((h & 0x7F80) > 0x0200) h = static_cast<uint16_t>(h - 0x0200);
        std::memcpy(&kv_b.bytes[i], &h, 2);
      }
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
        for (int32_t i = 0; i < width(); ++i)
          cache[index(q, t, i)] = naive::rounded_bf16(values[index(q, t, i)]);
    const int64_t token = latent_stride(dtype, s.rank, s.rope);
    std::vector<uint8_t> bytes;
    if (dtype == DType::i8) {
      bytes = as_latent_bytes(cache, s.rank, s.rope);
      // What is widened for tensor cores is rounded to bf16.
      if (s.rank == kDeepSeek.rank)
        for (float& v : cache)
          if (!std::isnan(v)) v = naive::rounded_bf16(v);
    }
    std::vector<uint16_t> bits(cache.size(), 0x7FC0);
    for (size_t i = 0; i < cache.size(); ++i)
      if (!std::isnan(cache[i])) bits[i] = as_bf16({cache[i]})[0];
    params = {.sequences = {},
              .tables = {},
              .heads = s.heads,
              .nope = s.nope,
              .value = s.value,
              .kv_b = put(kv_b.view),
              .cache = {.dtype = dtype,
                        .block_stride = s.block_tokens * token,
                        .block_tokens = s.block_tokens,
                        .rank = s.rank,
                        .rope = s.rope},
              .scale = kScale};
    params.cache.base = dtype == DType::bf16 ? static_cast<void*>(put(bits))
                        : dtype == DType::i8 ? static_cast<void*>(put(bytes))
                                             : put(cache);
    blocks_there = put(blocks);
  }
  int32_t width() const { return shape.rank + shape.rope; }
  int32_t key() const { return shape.nope + shape.rope; }
  size_t index(size_t sequence, int32_t position, int32_t i) const {
    const auto block = static_cast<size_t>(
        blocks[static_cast<size_t>(first_blocks[sequence] + position / shape.block_tokens)]);
    return (block * static_cast<size_t>(shape.block_tokens) +
            static_cast<size_t>(position % shape.block_tokens)) *
               static_cast<size_t>(width()) +
           static_cast<size_t>(i);
  }

  // Queries depend on (sequence, position), so a row is the same in every batch.
  std::vector<float> queries(const std::vector<Piece>& pieces) const {
    std::vector<float> q;
    for (const Piece& piece : pieces)
      for (int32_t r = 0; r < piece.rows; ++r) {
        const auto row = naive::random_floats(
            static_cast<size_t>(shape.heads * key()),
            static_cast<uint32_t>(piece.of * 10007) + static_cast<uint32_t>(piece.position + r));
        q.insert(q.end(), row.begin(), row.end());
      }
    return q;
  }

  std::vector<float> attend(const std::vector<Piece>& pieces, Compute compute,
                            DType out_dtype = DType::f32, int64_t pairs = 0) {
    std::vector<AttentionRun> runs;
    std::vector<int32_t> row_runs;
    AttentionTables t;
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
    MlaParams p = params;
    p.tables = t;
    p.q = put(queries(pieces));
    p.q_stride = shape.heads * key();
    p.out_stride = shape.heads * shape.value;
    const auto count = static_cast<size_t>(t.rows_total * p.out_stride);
    p.out_dtype = out_dtype;
    p.out =
        out_dtype == DType::bf16 ? static_cast<void*>(room<uint16_t>(count)) : room<float>(count);
    if (pairs > 0)
      cuda::flash::mla_expanded(context(compute), p, pairs);
    else
      ops().mla_expanded(context(compute), p);
    return out_dtype == DType::bf16 ? get_bf16(p.out, count)
                                    : get(static_cast<const float*>(p.out), count);
  }

  std::vector<float> reference(const std::vector<Piece>& pieces, Compute compute) const {
    const bool rounds = compute == Compute::bfloat16;
    const auto rounded = [&](double v) {
      return rounds ? double{naive::rounded_bf16(static_cast<float>(v))} : v;
    };
    const auto q = queries(pieces);
    std::vector<float> out;
    size_t row = 0;
    const int32_t pair = shape.nope + shape.value;
    std::vector<double> w(static_cast<size_t>(shape.heads * pair * shape.rank));
    for (int32_t o = 0; o < shape.heads * pair; ++o)
      for (int32_t r = 0; r < shape.rank; ++r)
        w[static_cast<size_t>(o * shape.rank + r)] = kv_b.at(o, r, compute);
    for (const Piece& piece : pieces) {
      const int32_t end = std::max(0, piece.position + piece.rows);
      std::vector<double> expanded(static_cast<size_t>(end * shape.heads * pair));
      for (int32_t t = 0; t < end; ++t)
        for (int32_t o = 0; o < shape.heads * pair; ++o) {
          double sum = 0;
          const float* latent = &cache[index(piece.of, t, 0)];
          for (int32_t r = 0; r < shape.rank; ++r)
            sum += w[static_cast<size_t>(o * shape.rank + r)] * double{latent[r]};
          expanded[static_cast<size_t>(t * shape.heads * pair + o)] = rounded(sum);
        }
      for (int32_t i = 0; i < piece.rows; ++i, ++row)
        for (int32_t h = 0; h < shape.heads; ++h) {
          std::vector<double> p, sums(static_cast<size_t>(shape.value));
          double largest = -1e300, total = 0;
          for (int32_t t = 0; piece.position >= 0 && t <= piece.position + i; ++t) {
            const float* query =
                &q[row * static_cast<size_t>(shape.heads * key()) + static_cast<size_t>(h * key())];
            const double* k = &expanded[static_cast<size_t>((t * shape.heads + h) * pair)];
            double score = 0;
            for (int32_t n = 0; n < shape.nope; ++n) score += rounded(query[n]) * k[n];
            for (int32_t n = 0; n < shape.rope; ++n)
              score += rounded(query[shape.nope + n]) * cache[index(piece.of, t, shape.rank + n)];
            p.push_back(score * double{kScale});
            largest = std::max(largest, p.back());
          }
          for (double& v : p) total += v = std::exp(v - largest);
          for (size_t t = 0; t < p.size(); ++t)
            for (int32_t v = 0; v < shape.value; ++v)
              sums[static_cast<size_t>(v)] +=
                  p[t] / total *
                  expanded[(t * static_cast<size_t>(shape.heads) + static_cast<size_t>(h)) *
                               static_cast<size_t>(pair) +
                           static_cast<size_t>(shape.nope + v)];
          for (const double v : sums) out.push_back(static_cast<float>(v));
        }
    }
    return out;
  }

  // Of the first row that is off, so a wrong index shows where.
  void expect_near(const std::vector<float>& got, const std::vector<float>& want, double bound) {
    const double e = relative_error(got, want);
    std::printf("  relative error %.2e\n", e);
    EXPECT_LT(e, bound);
    if (e < bound) return;
    const auto per_row = static_cast<size_t>(shape.value);
    int shown = 0;
    for (size_t i = 0; i + per_row <= got.size() && shown < 6; i += per_row) {
      const auto from = static_cast<std::ptrdiff_t>(i),
                 to = from + static_cast<std::ptrdiff_t>(per_row);
      const double off = relative_error({got.begin() + from, got.begin() + to},
                                        {want.begin() + from, want.begin() + to});
      if (off < 2 * bound) continue;
      ++shown;
      std::printf("  row %zu head %zu: off %.2e; got %g %g %g %g want %g %g %g %g\n",
                  i / per_row / static_cast<size_t>(shape.heads),
                  i / per_row % static_cast<size_t>(shape.heads), off, got[i], got[i + 1],
                  got[i + 2], got[i + 64 % per_row], want[i], want[i + 1], want[i + 2],
                  want[i + 64 % per_row]);
    }
  }

  Shape shape{};
  DType dtype = DType::f32;
  naive::Owned kv_b;
  std::vector<float> cache;
  std::vector<BlockIndex> blocks;
  std::vector<int32_t> first_blocks, lengths_;
  const BlockIndex* blocks_there = nullptr;
  MlaParams params;
};

// Every stage before the attention, looked at where it stores: tile by tile, head by head.
TEST_F(ExpandedOnGpu, images_hold_keys_and_values) {
  using namespace cuda::flash;
  make(kDeepSeek, DType::bf16, DType::f8_e4m3, {5, 300});
  const std::vector<AttentionRun> runs = {
      {0, 5, 0, 0}, {5, 2, -1, 1 << 28}, {7, 100, 200, first_blocks[1]}};
  std::vector<int32_t> row_runs(107, 2);
  std::fill_n(row_runs.begin(), 5, 0);
  row_runs[5] = row_runs[6] = 1;
  Expanded e{.p = params};
  e.p.tables = {.runs = put(runs),
                .blocks = blocks_there,
                .row_runs = put(row_runs),
                .count = 3,
                .rows_total = 107,
                .rows_max = 100,
                .context_max = 300};
  e.p.out = room<float>(107 * 384);
  e.p.out_stride = 384;
  e.tiles_before = room<int32_t>(4);
  e.blocks_before = room<int32_t>(4);
  e.window_tiles = e.tiles_most = 9;
  e.head_count = 3;
  e.weights = room<uint8_t>(3 * kWeightImage);
  e.latents = room<uint8_t>(9 * kLatentImage);
  e.ropes = room<uint8_t>(9 * kRopeImage);
  e.heads = room<uint8_t>(9 * 3 * kHeadImage);
  const OpContext ctx = context(Compute::bfloat16);
  plan_tiles(ctx, e);
  pack_weights(ctx, e);
  gather_tiles(ctx, e);
  EXPECT_EQ(get(e.tiles_before, 4), (std::vector<int32_t>{0, 1, 1, 4}));
  EXPECT_EQ(get(e.blocks_before, 4), (std::vector<int32_t>{0, 1, 1, 2}));
  const auto value_at = [](const std::vector<uint16_t>& image, int64_t from, int row, int column) {
    const auto at =
        static_cast<size_t>((from + chunk_place(kRows, row, column / 8)) / 2 + column % 8);
    const uint32_t wide = uint32_t{image[at]} << 16;
    float v;
    std::memcpy(&v, &wide, 4);
    return v;
  };
  const auto whole = [&](const uint8_t* from, int64_t bytes) {
    return get(reinterpret_cast<const uint16_t*>(from), static_cast<size_t>(bytes / 2));
  };
  const auto weights = whole(e.weights, 3 * kWeightImage),
             latents = whole(e.latents, 4 * kLatentImage), ropes = whole(e.ropes, 4 * kRopeImage);
  std::vector<double> w;
  for (int32_t o = 0; o < 768; ++o)
    for (int32_t r = 0; r < 512; ++r) {
      w.push_back(kv_b.at(o, r, Compute::bfloat16));
      ASSERT_EQ(value_at(weights, o / kRows * kLatentImage, o % kRows, r),
                static_cast<float>(w.back()))
          << "kv_b " << o << "," << r;
    }
  expand_tiles(ctx, e);
  const auto heads = whole(e.heads, int64_t{4} * 3 * kHeadImage);
  for (int32_t tile = 0; tile < 4; ++tile)
    for (int32_t row = 0; row < kRows; ++row) {
      const size_t of = tile > 0 ? 1 : 0;
      const int32_t position = (tile > 0 ? tile - 1 : 0) * kRows + row;
      const bool there = position < lengths_[of];
      const auto cached = [&](int32_t i) { return there ? cache[index(of, position, i)] : 0.0f; };
      std::vector<float> latent;
      for (int32_t i = 0; i < 512; ++i) latent.push_back(cached(i));
      for (int32_t i = 0; i < 512; ++i)
        ASSERT_EQ(value_at(latents, tile * kLatentImage, row, i), cached(i)) << tile << "," << row;
      for (int32_t i = 0; i < 64; ++i)
        ASSERT_EQ(value_at(ropes, tile * kRopeImage, row, i), cached(512 + i))
            << tile << "," << row;
      for (int32_t h = 0; h < 3; ++h)
        for (int32_t o = row % 7; o < 256; o += 7) {
          double want = 0, size = 0;
          for (int32_t r = 0; r < 512; ++r) {
            const double product = w[static_cast<size_t>((h * 256 + o) * 512 + r)] *
                                   double{latent[static_cast<size_t>(r)]};
            want += product;
            size += std::abs(product);
          }
          const int64_t from = (tile * 3 + h) * kHeadImage + o / 128 * kPartImage;
          ASSERT_NEAR(value_at(heads, from, row, o % 128), want, std::abs(want) / 200 + size * 1e-5)
              << "tile " << tile << " head " << h << " row " << row << " column " << o;
        }
    }
}

TEST_F(ExpandedOnGpu, smallest_prompts_are_right) {
  make(kDeepSeek, DType::bf16, DType::bf16, {1, 5});
  for (const auto& pieces : {std::vector<Piece>{{0, 1, 0}}, std::vector<Piece>{{1, 5, 0}}})
    expect_near(attend(pieces, Compute::bfloat16), reference(pieces, Compute::bfloat16), 5e-3);
}

// What is loaded of one tile while another is multiplied.
TEST_F(ExpandedOnGpu, smallest_contexts_of_several_tiles_are_right) {
  make(kDeepSeek, DType::bf16, DType::bf16, {300});
  const std::vector<Piece> pieces = {{0, 2, 298}};
  expect_near(attend(pieces, Compute::bfloat16), reference(pieces, Compute::bfloat16), 5e-3);
}

TEST_F(ExpandedOnGpu, models_own_shape_equals_softmax_attention) {
  for (const DType weight : {DType::bf16, DType::f8_e4m3})
    for (const DType cache_dtype : {DType::bf16, DType::f32, DType::i8}) {
      make(kDeepSeek, cache_dtype, weight, {64, 300, 129, 400});
      const std::vector<Piece> pieces = {
          {0, 64, 0}, {1, 131, 169}, {2, 2, 127}, {0, 3, -1}, {3, 257, 143}};
      const auto want = reference(pieces, Compute::bfloat16);
      expect_near(attend(pieces, Compute::bfloat16), want, 5e-3);
      expect_near(attend(pieces, Compute::bfloat16, DType::bf16), want, 7e-3);
    }
}

TEST_F(ExpandedOnGpu, any_shape_equals_softmax_attention) {
  for (const DType cache_dtype : {DType::bf16, DType::f32, DType::i8})
    for (const Compute compute : {Compute::float32, Compute::bfloat16}) {
      make(kOdd, cache_dtype, DType::bf16, {1, 70, 150});
      const std::vector<Piece> pieces = {{0, 1, 0}, {1, 6, 64}, {2, 3, -1}, {2, 149, 1}};
      expect_near(attend(pieces, compute), reference(pieces, Compute::float32), 2e-5);
    }
}

// The rows of `piece` of a batch are the same bits as those rows of `whole`.
void expect_same_rows(const std::vector<float>& got, size_t at, const std::vector<float>& whole,
                      size_t from, size_t rows, size_t wide, const std::string& what) {
  for (size_t i = 0; i < rows * wide; ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(got[at * wide + i]),
              std::bit_cast<uint32_t>(whole[from * wide + i]))
        << what << ": row " << i / wide << " column " << i % wide << " got " << got[at * wide + i]
        << " want " << whole[from * wide + i];
}

TEST_F(ExpandedOnGpu,
       row_has_the_same_bits_however_the_prompt_is_cut_and_whoever_shares_the_batch) {
  for (const Shape& s : {kDeepSeek, kOdd}) {
    const int32_t length = kGpuIsEmulated ? 275 : 700, beside = kGpuIsEmulated ? 6 : 90;
    make(s, DType::bf16, DType::bf16, {length, 90});
    const auto wide = static_cast<size_t>(s.heads * s.value);
    const auto whole = attend({{0, length, 0}}, Compute::bfloat16);
    const std::vector<int32_t> large = {1, 36, 128, 64, 127, 129, 215}, small = {1, 36, 129, 109};
    int32_t begin = 0;
    for (const int32_t n : kGpuIsEmulated ? small : large) {
      const std::vector<Piece> pieces = {{1, 5, 85}, {0, 2, -1}, {0, n, begin}, {1, beside, 0}};
      const auto got = attend(pieces, Compute::bfloat16);
      const std::string what = "cut at " + std::to_string(begin);
      expect_same_rows(got, 7, whole, size_t(begin), size_t(n), wide, what);
      for (size_t i = 5 * wide; i < 7 * wide; ++i) ASSERT_EQ(got[i], 0.0f) << "padding";
      begin += n;
    }
    ASSERT_EQ(begin, length);
  }
}

TEST_F(ExpandedOnGpu, windows_of_memory_do_not_show_in_the_bits) {
  make(kDeepSeek, DType::bf16, DType::f8_e4m3, {1000, 300});
  const std::vector<Piece> pieces = {{0, 600, 400}, {1, 140, 160}};
  const auto wide = static_cast<size_t>(kDeepSeek.heads * kDeepSeek.value);
  const auto whole = attend(pieces, Compute::bfloat16);
  for (const int64_t pairs : {1, 3, 6, 9, 24}) {
    const auto got = attend(pieces, Compute::bfloat16, DType::f32, pairs);
    expect_same_rows(got, 0, whole, 0, 740, wide, std::to_string(pairs) + " pairs");
  }
}

TEST_F(ExpandedOnGpu, repeated_gives_the_same_bits) {
  const int32_t rows = kGpuIsEmulated ? 200 : 1500;
  make(kDeepSeek, DType::bf16, DType::bf16, {rows});
  const auto first = attend({{0, rows, 0}}, Compute::bfloat16);
  for (int i = kGpuIsEmulated ? 4 : 0; i < 5; ++i)
    ASSERT_EQ(attend({{0, rows, 0}}, Compute::bfloat16), first) << "again";
}

}  // namespace
}  // namespace fathom
