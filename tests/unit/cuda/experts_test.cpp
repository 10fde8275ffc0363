// Does the mixture on a GPU add each token's experts as the CPU does, and is a token's result the
// same to the bit whoever else is in the batch?
#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

#include "kernels/cuda/experts/order.h"
#include "kernels/cuda/experts/plan.h"
#include "on_gpu.h"

namespace fathom {
namespace {

TEST(CudaExpertPlan, every_row_is_in_one_tile) {
  for (const int32_t most : {1, 8, 64, 128})
    for (int32_t rows = 0; rows < 600; ++rows) {
      int32_t next = 0;
      const int32_t tiles = cuda::tiles_of(rows, most);
      for (int32_t tile = 0; tile < tiles; ++tile) {
        const cuda::RowRun run = cuda::run_of(rows, most, tile);
        ASSERT_EQ(run.first, next);
        ASSERT_TRUE(run.count >= 0 && run.count <= most);
        next += run.count;
      }
      ASSERT_EQ(next, rows);
    }
}

TEST(CudaExpertPlan, tiles_are_as_wide_as_their_tokens_need) {
  for (int count = 1; count <= 128; ++count) {
    const int index = cuda::width_index(count);
    ASSERT_LT(index, cuda::kWidths);
    ASSERT_GE(cuda::width_of(index), count);
    ASSERT_TRUE(index == 0 || cuda::width_of(index - 1) < count);
  }
}

TEST(CudaExpertPlan, every_unit_is_met_once_and_no_more_than_the_bound) {
  std::mt19937 random(5);
  for (int time = 0; time < 200; ++time) {
    const int32_t experts = 1 + static_cast<int32_t>(random() % 40);
    const int32_t panels = 1 + static_cast<int32_t>(random() % 9);
    std::vector<int32_t> begin{0}, tile_begin{0};
    for (int32_t e = 0; e < experts; ++e) {
      const auto rows = static_cast<int32_t>(random() % 3 == 0 ? random() % 300 : random() % 2);
      begin.push_back(begin.back() + rows);
      tile_begin.push_back(tile_begin.back() + cuda::tiles_of(rows, 64));
    }
    ASSERT_LE(tile_begin.back(), cuda::tiles_bound(begin.back(), experts, 64));
    std::set<std::array<int32_t, 3>> met;
    for (int32_t unit = 0; unit < tile_begin.back() * panels; ++unit) {
      const auto u = cuda::unit_of(tile_begin.data(), experts, panels, unit);
      ASSERT_TRUE(u.panel >= 0 && u.panel < panels);
      ASSERT_LT(u.tile, tile_begin[u.expert + 1] - tile_begin[u.expert]);
      ASSERT_TRUE(met.insert({u.expert, u.tile, u.panel}).second);
    }
  }
}

TEST(CudaExpertPlan, order_of_columns_is_a_permutation_and_eight_results_stand_together) {
  for (const bool e4m3 : {false, true})
    for (int place = 0; place < cuda::kOrderBlock; ++place) {
      ASSERT_EQ(cuda::place_of(cuda::column_at(place, e4m3), e4m3), place);
      ASSERT_EQ(cuda::column_at(place, e4m3) / 16, place % 8 / 2);  // one thread's 16 columns
    }
  for (const bool e4m3 : {false, true}) {
    std::set<int> rows;
    for (int lane = 0; lane < 32; lane += 4) rows.insert(cuda::row_of_eight(lane, e4m3));
    ASSERT_EQ(rows.size(), 8u);
    ASSERT_EQ(*rows.rbegin(), 7);
  }
}

// Experts with their weights; gate, up and down of expert e are owned[3 e], [3 e + 1], [3 e + 2].
struct Mixture {
  int32_t experts, hidden, width;
  std::vector<naive::Owned> owned;
  std::vector<ExpertWeights> weights;

  Mixture(DType dtype, int32_t e, int32_t h, int32_t w, int32_t skew = 0)
      : experts(e), hidden(h), width(w) {
    owned.reserve(static_cast<size_t>(3 * e));
    for (int32_t i = 0; i < e; ++i) {
      const auto seed = static_cast<uint32_t>(10 * i + 1);
      owned.push_back(naive::random_weight(dtype, w, h, seed, skew));
      owned.push_back(naive::random_weight(dtype, w, h, seed + 1, skew));
      owned.push_back(naive::random_weight(dtype, h, w, seed + 2, skew));
      const size_t n = owned.size();
      weights.push_back({owned[n - 3].view, owned[n - 2].view, owned[n - 1].view});
    }
  }
};

struct Tokens {
  int32_t rows, chosen;
  std::vector<float> x, weights;
  std::vector<int32_t> ids;

  // Low numbers are chosen more often; no token chooses an expert twice.
  Tokens(const Mixture& m, int32_t n, int32_t k, uint32_t seed) : rows(n), chosen(k) {
    x = naive::random_floats(static_cast<size_t>(n * m.hidden), seed, 0.3f);
    weights = naive::random_floats(static_cast<size_t>(n * k), seed + 1);
    std::mt19937 random(seed);
    for (int32_t t = 0; t < n; ++t) {
      std::vector<int32_t> mine;
      while (static_cast<int32_t>(mine.size()) < k) {
        const double u = static_cast<double>(random() % 10000) / 10000;
        const auto e = static_cast<int32_t>(u * u * m.experts);
        if (std::find(mine.begin(), mine.end(), e) == mine.end()) mine.push_back(e);
      }
      ids.insert(ids.end(), mine.begin(), mine.end());
    }
  }
  Tokens some(const std::vector<int32_t>& which, int32_t hidden) const {
    Tokens out = *this;
    out.rows = static_cast<int32_t>(which.size());
    out.x.clear();
    out.weights.clear();
    out.ids.clear();
    for (const int32_t t : which) {
      out.x.insert(out.x.end(), x.begin() + t * hidden, x.begin() + (t + 1) * hidden);
      out.weights.insert(out.weights.end(), weights.begin() + t * chosen,
                         weights.begin() + (t + 1) * chosen);
      out.ids.insert(out.ids.end(), ids.begin() + t * chosen, ids.begin() + (t + 1) * chosen);
    }
    return out;
  }
};

class CudaExperts : public OnGpu {
 protected:
  const std::vector<ExpertWeights>& place(const Mixture& m) {
    there_ = placed->place_experts(m.weights).value();
    return there_;
  }
  // All of `there_`, or [first, first + count).
  std::vector<float> run(const Mixture& m, const Tokens& t, Compute compute, DType x_dtype,
                         int32_t first = 0, int32_t count = -1) {
    scratch->reset();  // what scratch holds is not a number
    void* dirt = scratch->take(8 << 20);
    const std::vector<uint8_t> poison(8 << 20, 0xFF);
    device->upload(dirt, poison.data(), poison.size());
    const size_t size = static_cast<size_t>(t.rows) * static_cast<size_t>(m.hidden);
    float* out = put(std::vector<float>(size, 0.5f));
    const void* x = x_dtype == DType::f32 ? static_cast<const void*>(put(t.x)) : put(as_bf16(t.x));
    const std::span all(there_);
    ops().experts(context(compute),
                  {.x = x,
                   .x_dtype = x_dtype,
                   .x_stride = m.hidden,
                   .rows = t.rows,
                   .experts = all.subspan(static_cast<size_t>(first),
                                          count < 0 ? all.size() : static_cast<size_t>(count)),
                   .first_expert = first,
                   .ids = put(t.ids),
                   .weights = put(t.weights),
                   .chosen = t.chosen,
                   .out = out,
                   .out_stride = m.hidden});
    return get(out, size);
  }
  static std::vector<float> on_cpu(const Mixture& m, const Tokens& t, Compute compute,
                                   int32_t first = 0, int32_t count = -1) {
    const naive::Machine cpu("portable", 8, compute);
    std::vector<float> out(static_cast<size_t>(t.rows * m.hidden), 0.5f);
    const std::span all(m.weights);
    cpu.ops.experts(cpu.ctx,
                    {.x = t.x.data(),
                     .x_stride = m.hidden,
                     .rows = t.rows,
                     .experts = all.subspan(static_cast<size_t>(first),
                                            count < 0 ? all.size() : static_cast<size_t>(count)),
                     .first_expert = first,
                     .ids = t.ids.data(),
                     .weights = t.weights.data(),
                     .chosen = t.chosen,
                     .out = out.data(),
                     .out_stride = m.hidden});
    return out;
  }
  void expect_equal(const std::vector<float>& got, const std::vector<float>& want,
                    const std::string& what) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], want[i]) << what << ", value " << i;
  }

  std::vector<ExpertWeights> there_;
};

TEST_F(CudaExperts, are_weighted_and_added_on_top_of_what_is_there) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3})
    for (const auto& [hidden, width, skew] : std::vector<std::array<int32_t, 3>>{
             {50, 37, 0}, {128, 64, 0}, {200, 133, 3}, {264, 96, 7}})
      for (const int32_t rows : {1, 2, 12, 65, 150}) {
        const Mixture m(dtype, 7, hidden, width, skew);
        place(m);
        const Tokens t(m, rows, 3, static_cast<uint32_t>(rows + hidden));
        EXPECT_LT(
            relative_error(run(m, t, Compute::float32, DType::f32), on_cpu(m, t, Compute::float32)),
            2e-6)
            << naive::name_of(dtype) << " " << hidden << "x" << width << ", " << rows << " rows";
      }
}

TEST_F(CudaExperts, under_bfloat16_round_where_the_cpu_rounds) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3})
    for (const auto& [hidden, width] :
         std::vector<std::array<int32_t, 2>>{{50, 37}, {256, 128}, {512, 256}, {384, 64}})
      for (const int32_t rows : {1, 9, 40, 200})
        for (const DType x : {DType::f32, DType::bf16}) {
          const Mixture m(dtype, 5, hidden, width);
          place(m);
          const Tokens t(m, rows, 2, static_cast<uint32_t>(rows + hidden));
          // Shapes and types that no tensor core takes are computed in float32, unrounded.
          const bool tensors =
              hidden % 64 == 0 && (dtype == DType::bf16 || dtype == DType::f8_e4m3);
          EXPECT_LT(
              relative_error(run(m, t, Compute::bfloat16, x), on_cpu(m, t, Compute::bfloat16)),
              tensors ? 6e-3 : 1e-2)
              << naive::name_of(dtype) << " " << hidden << "x" << width << ", " << rows << " rows";
        }
}

// Some of what `down` multiplies lies so near the middle between two codes that what tensor cores
// lose of a sum decides, and a code is a sixteenth of what it stands for.
constexpr double kFlipped = 3e-2;

TEST_F(CudaExperts, under_fp8_multiply_codes_of_tokens_and_of_what_passed_swiglu) {
  for (const auto& [hidden, width] :
       std::vector<std::array<int32_t, 2>>{{50, 37}, {256, 128}, {520, 260}, {384, 64}})
    for (const int32_t rows : {1, 9, 40, 170})
      for (const DType x : {DType::f32, DType::bf16}) {
        const Mixture m(DType::f8_e4m3, 5, hidden, width);
        place(m);
        Tokens t(m, rows, 2, static_cast<uint32_t>(rows + hidden));
        for (float& v : t.x) v = x == DType::bf16 ? naive::rounded_bf16(v) : v;
        EXPECT_LT(relative_error(run(m, t, Compute::fp8, x), on_cpu(m, t, Compute::fp8)), kFlipped)
            << hidden << "x" << width << ", " << rows << " rows";
      }
}

// With weights of -1, 0 and 1 and tokens of small integers every sum of codes is exact.
TEST_F(CudaExperts, under_fp8_equal_the_cpu_where_sums_of_codes_lose_nothing) {
  for (const int32_t rows : {5, 170}) {
    Mixture m(DType::f8_e4m3, 4, 256, 192);
    for (size_t i = 0; i < m.owned.size(); ++i)
      if (i % 3 != 2)
        for (uint8_t& code : m.owned[i].bytes) code = std::array{0x00, 0x38, 0xB8}[code % 3];
    place(m);
    Tokens t(m, rows, 2, 8);
    for (size_t i = 0; i < t.x.size(); ++i)
      t.x[i] = i % 128 == 0 ? 448.0f : std::trunc(t.x[i] * 10);  // the scale is 1
    EXPECT_LT(relative_error(run(m, t, Compute::fp8, DType::bf16), on_cpu(m, t, Compute::fp8)),
              1e-3);
  }
}

TEST_F(CudaExperts, keep_the_smallest_and_the_largest_codes_of_e4m3) {
  for (const uint8_t keep : {uint8_t{0x87}, uint8_t{0xFE}}) {  // subnormal; of any size
    Mixture m(DType::f8_e4m3, 3, 256, 128);
    for (naive::Owned& w : m.owned)
      for (uint8_t& code : w.bytes) code = keep == 0x87 ? code & 0x87 : (code & 0x80) | 0x7E;
    place(m);
    const Tokens t(m, 20, 2, 4);
    EXPECT_LT(
        relative_error(run(m, t, Compute::bfloat16, DType::bf16), on_cpu(m, t, Compute::bfloat16)),
        8e-3);
  }
}

TEST_F(CudaExperts, of_other_ranks_and_of_padded_rows_are_left_out) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16, Compute::fp8}) {
    const Mixture m(DType::f8_e4m3, 9, 256, 128);
    place(m);
    Tokens t(m, 40, 3, 21);
    for (const int32_t pads : {7, 8, 39}) {
      std::fill_n(t.ids.begin() + pads * 3, 3, -1);
      std::fill_n(t.weights.begin() + pads * 3, 3, 0.0f);
      std::fill_n(t.x.begin() + pads * 256, 256, NAN);
    }
    const auto got = run(m, t, compute, DType::f32, 2, 4);
    const auto want = on_cpu(m, t, compute, 2, 4);
    EXPECT_LT(relative_error(got, want), compute == Compute::float32    ? 2e-6
                                         : compute == Compute::bfloat16 ? 5e-3
                                                                        : kFlipped);
    for (int32_t i = 0; i < 256; ++i) EXPECT_EQ(got[static_cast<size_t>(8 * 256 + i)], 0.5f);
    t.ids.assign(t.ids.size(), 1);  // nobody is here
    for (const float v : run(m, t, compute, DType::f32, 2, 4)) EXPECT_EQ(v, 0.5f);
  }
}

TEST_F(CudaExperts, give_a_token_the_same_bits_whoever_else_is_there) {
  constexpr DType kFp8 = DType::f8_e4m3;
  using Case = std::tuple<DType, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t>;
  for (const Compute compute : {Compute::float32, Compute::bfloat16, Compute::fp8})
    for (const auto& [dtype, experts, hidden, width, many, few, chosen] :
         {Case{DType::f32, 5, 50, 37, 70, 20, 2}, Case{DType::bf16, 6, 256, 128, 700, 90, 3},
          Case{kFp8, 6, 384, 128, 900, 100, 4}, Case{kFp8, 40, 256, 256, 150, 20, 6},
          Case{kFp8, 1, 256, 128, 300, 140, 1}}) {
      const int32_t rows = kGpuIsEmulated ? few : many;
      const Mixture m(dtype, experts, hidden, width);
      place(m);
      const Tokens all(m, rows, chosen, 31);
      const auto whole = run(m, all, compute, DType::bf16);
      std::vector<int32_t> order(static_cast<size_t>(rows));
      std::iota(order.begin(), order.end(), 0);
      std::mt19937 random(9);
      for (const int32_t n : {1, 1, 2, 3, 8, 9, 16, 17, 33, 65, 129, rows}) {
        if (n > rows || (kGpuIsEmulated && n > 3 && n != 17 && n != rows)) continue;
        std::shuffle(order.begin(), order.end(), random);
        const std::vector<int32_t> which(order.begin(), order.begin() + n);
        Tokens some = all.some(which, hidden);
        if (n > 2) std::fill_n(some.ids.begin() + chosen, chosen, -1);  // the second only pads
        const auto got = run(m, some, compute, DType::bf16);
        for (int32_t i = 0; i < n; ++i) {
          if (n > 2 && i == 1) continue;
          ASSERT_TRUE(std::equal(got.begin() + i * hidden, got.begin() + (i + 1) * hidden,
                                 whole.begin() + which[static_cast<size_t>(i)] * hidden))
              << naive::name_of(dtype) << " token " << which[static_cast<size_t>(i)] << " among "
              << n << " under " << static_cast<int>(compute);
        }
      }
    }
}

TEST_F(CudaExperts, few_tokens_have_the_bits_that_they_have_among_many) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16, Compute::fp8})
    for (const DType dtype : {DType::bf16, DType::f8_e4m3}) {
      if (compute == Compute::fp8 && dtype == DType::bf16) continue;
      const Mixture m(dtype, 3, 256, 128);
      place(m);
      const int32_t many = compute == Compute::fp8 ? 150 : 110;  // wide tiles, too
      const Tokens all(m, many, 2, 31);
      const auto whole = run(m, all, compute, DType::bf16);
      for (const auto& which : {std::vector{many - 1}, {3, 100, 7}, {0, 1, 2, 3, 4, 5, 6}}) {
        const auto got = run(m, all.some(which, 256), compute, DType::bf16);
        for (size_t i = 0; i < which.size(); ++i)
          ASSERT_TRUE(std::equal(got.begin() + static_cast<std::ptrdiff_t>(i) * 256,
                                 got.begin() + static_cast<std::ptrdiff_t>(i + 1) * 256,
                                 whole.begin() + which[i] * 256))
              << naive::name_of(dtype) << " token " << which[i] << " among " << which.size()
              << " under " << static_cast<int>(compute);
      }
    }
}

TEST_F(CudaExperts, all_tokens_may_want_one_expert) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16, Compute::fp8}) {
    const Mixture m(DType::f8_e4m3, 33, 256, 128);
    place(m);
    for (const int32_t rows : {1, 64, 129, 1025}) {
      Tokens t(m, rows, 2, 3);
      for (size_t i = 0; i < t.ids.size(); ++i) t.ids[i] = i % 2 == 0 ? 32 : 5;
      const auto got = run(m, t, compute, DType::f32);
      const Tokens few = t.some({0, rows - 1}, 256);
      const auto want = on_cpu(m, few, compute);
      const std::vector<float> first(got.begin(), got.begin() + 256),
          last(got.end() - 256, got.end());
      const double off = compute == Compute::fp8 ? kFlipped : 5e-3;
      EXPECT_LT(relative_error(first, {want.begin(), want.begin() + 256}), off);
      EXPECT_LT(relative_error(last, {want.begin() + 256, want.end()}), off);
    }
  }
}

TEST_F(CudaExperts, replay_follows_new_routes) {
  const Mixture m(DType::f8_e4m3, 12, 256, 128);
  place(m);
  const Tokens a(m, 20, 3, 1), b(m, 20, 3, 2);
  float* x = put(a.x);
  float* weights = put(a.weights);
  int32_t* ids = put(a.ids);
  float* out = room<float>(20 * 256);
  for (int time = 0; time < 6; ++time) {
    const Tokens& t = time % 2 == 0 ? a : b;
    device->upload(x, t.x.data(), t.x.size() * 4);
    device->upload(weights, t.weights.data(), t.weights.size() * 4);
    device->upload(ids, t.ids.data(), t.ids.size() * 4);
    const std::vector<float> half(20 * 256, 0.5f);
    device->upload(out, half.data(), half.size() * 4);
    const OpContext ctx = context(Compute::bfloat16);
    device->replay({.what = 9, .rows = 20}, [&] {
      ops().experts(ctx, {.x = x,
                          .x_stride = 256,
                          .rows = 20,
                          .experts = there_,
                          .ids = ids,
                          .weights = weights,
                          .chosen = 3,
                          .out = out,
                          .out_stride = 256});
    });
    const auto got = get(out, half.size());
    expect_equal(got, run(m, t, Compute::bfloat16, DType::f32), "time " + std::to_string(time));
  }
}

}  // namespace
}  // namespace fathom
