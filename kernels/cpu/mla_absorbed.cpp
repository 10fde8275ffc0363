// How does a decode row attend? In latent space: the query is taken through W_UK once, then every
// head of a group reads the same latents. Three passes: queries into latent space (per head),
// scores and sums (mla_absorbed_tiles.cpp, or mla_absorbed_spans.cpp where there are matrix tiles),
// and out through W_UV (per head). The two products with kv_b follow the context's compute.
#include "kernels/cpu/absorbed.h"
#include "kernels/cpu/key_rows.h"
#include "kernels/cpu/parity.h"

namespace fathom::cpu {
namespace {

// Of AVX2, e4m3 is never rounded to bf16: docs/kernels.md.
bool rounds_weights(const Absorbed& a) {
  return a.ctx.compute == Compute::bfloat16 &&
         !(a.inner.columns && a.p.kv_b.dtype == DType::f8_e4m3);
}

// z [count, rank] of a head += q times its key rows in a panel, in ascending order.
void multiply_panel(const Absorbed& a, const CombineParams& all) {
  if (!a.inner.columns || all.width % kColumns != 0) return a.inner.combine(all);
  a.inner.columns->product({.a = all.p,
                            .a_row = all.p_stride,
                            .rows = all.rows,
                            .depth = all.depth,
                            .c = all.c,
                            .c_step = all.c_stride,
                            .c_strip = kColumns,
                            .columns = all.width,
                            .z = all.z,
                            .z_row = all.z_stride,
                            .z_strip = kColumns});
}

struct KeyLane {  // workspace of one lane
  float* panel;   // of a head's key rows
  float* room;    // of multiply_key_rows
};

void queries_of_head(const Absorbed& a, int32_t h, const float* q, int64_t q_stride,
                     const KeyLane& lane) {
  const MlaParams& p = a.p;
  const int32_t rank = p.cache.rank, rope = p.cache.rope, first = h * (p.nope + p.value);
  const bool stored = a.inner.columns && key_rows_fit(p.kv_b, first, p.nope);
  for (int32_t i = 0; !stored && i < p.nope; ++i)
    a.inner.widen(p.kv_b, first + i, rounds_weights(a), lane.panel + int64_t{i} * rank);
  for (const Run& run : a.runs) {
    const float* from = q + run.first * q_stride + h * (p.nope + rope);
    float* to = a.queries + (int64_t{run.first} * p.heads + h) * a.width;
    const int64_t to_stride = int64_t{p.heads} * a.width;
    for (int32_t r = 0; r < run.count; ++r) {
      if (!stored) std::fill_n(to + r * to_stride, rank, 0.0f);
      std::copy_n(from + r * q_stride + p.nope, rope, to + r * to_stride + rank);
    }
    if (stored)
      multiply_key_rows({.w = p.kv_b,
                         .first = first,
                         .count = p.nope,
                         .q = from,
                         .q_stride = q_stride,
                         .rows = run.count,
                         .z = to,
                         .z_stride = to_stride,
                         .workspace = lane.room});
    else
      multiply_panel(a, {.p = from,
                         .p_stride = q_stride,
                         .rows = run.count,
                         .c = lane.panel,
                         .c_stride = rank,
                         .depth = p.nope,
                         .width = rank,
                         .z = to,
                         .z_stride = to_stride});
  }
}

void into_latent_space(const Absorbed& a, Workspace& workspace) {
  const MlaParams& p = a.p;
  const int32_t q_width = p.heads * (p.nope + p.cache.rope);
  const float* q = p.q;
  int64_t q_stride = p.q_stride;
  if (a.ctx.compute == Compute::bfloat16) {
    float* rounded = workspace.take<float>(a.rows * padded_width(q_width));
    // Rounded values in float32, whatever the instruction set packs: this product is no dot
    // product.
    for (const Run& run : a.runs)
      prepare_rows(kInnerPortable, a.ctx, Compute::bfloat16, p.q + run.first * p.q_stride,
                   p.q_stride, run.count, q_width, rounded + run.first * padded_width(q_width));
    q = rounded;
    q_stride = padded_width(q_width);
  }
  auto* lanes = workspace.take<KeyLane>(a.lanes);
  for (int i = 0; i < a.lanes; ++i)
    lanes[i] = {.panel = workspace.take<float>(int64_t{p.nope} * p.cache.rank),
                .room = workspace.take<float>(key_rows_floats(p.kv_b, p.nope))};
  share(a.ctx, a.lanes, p.heads,
        [&](int lane, int h) { queries_of_head(a, h, q, q_stride, lanes[lane]); });
}

void out_of_latent_space(const Absorbed& a, Workspace& workspace) {
  const MlaParams& p = a.p;
  const int32_t rank = p.cache.rank;
  float* buffer = a.ctx.compute == Compute::float32
                      ? nullptr
                      : workspace.take<float>(int64_t{a.rows} * p.heads * padded_width(rank));
  const int64_t panel = panel_floats(rank);
  float* panels = workspace.take<float>(panel * a.lanes);
  for (const Run& run : a.runs) {
    const Rows z =
        prepare_rows(a.inner, a.ctx, a.ctx.compute, a.sums + int64_t{run.first} * p.heads * rank,
                     rank, run.count * p.heads, rank, buffer);
    share(a.ctx, a.lanes, p.heads, [&](int lane, int h) {
      const auto* head = static_cast<const char*>(z.data) + h * z.stride * (z.packed ? 2 : 4);
      a.inner.dots(
          {.x = {head, z.stride * p.heads, run.count, z.packed},
           .w = p.kv_b,
           .first = h * (p.nope + p.value) + p.nope,
           .outs = p.value,
           .round = a.ctx.compute == Compute::bfloat16,
           .y = floats(p.out, p.out_dtype) + run.first * p.out_stride + int64_t{h} * p.value,
           .y_stride = p.out_stride,
           .panel = panels + lane * panel});
    });
  }
}

// The same where bf16 and e4m3 are multiplied as they are stored (parity.h, bytes.h): a few rows
// are not repaid for widening a head's value rows.
void out_of_latent_space_as_stored(const Absorbed& a, Workspace& workspace) {
  const MlaParams& p = a.p;
  const bool round = a.ctx.compute == Compute::bfloat16;
  const int64_t most = ParityRows::of(p.kv_b, a.rows).floats();
  const int64_t panel = parity_panel_floats(p.kv_b.cols);
  float* packed = workspace.take<float>(most * a.lanes);
  float* panels = workspace.take<float>(panel * a.lanes);
  share(a.ctx, a.lanes, p.heads, [&](int lane, int h) {
    float* data = packed + lane * most;
    for (const Run& run : a.runs) {
      ParityRows x = ParityRows::of(p.kv_b, run.count);
      x.data = data;
      for (int32_t t = 0; t < x.tiles(); ++t)
        pack_tile(x, t, round, data, [&](int32_t r) {
          return a.sums + (int64_t{run.first + r} * p.heads + h) * p.cache.rank;
        });
      parity_avx2()->multiply(
          {.x = x,
           .w = p.kv_b,
           .first = h * (p.nope + p.value) + p.nope,
           .outs = p.value,
           .round = round,
           .y = floats(p.out, p.out_dtype) + run.first * p.out_stride + int64_t{h} * p.value,
           .y_stride = p.out_stride,
           .panel = panels + lane * panel});
    }
  });
}

}  // namespace

void mla_absorbed(const Inner& inner, const OpContext& ctx, const MlaParams& p) {
  Workspace workspace(ctx);
  auto* runs = workspace.take<Run>(static_cast<int64_t>(p.sequences.size()));
  const int32_t run_count = runs_of(p.sequences, runs);
  if (run_count == 0) return;
  Absorbed a{.inner = inner,
             .ctx = ctx,
             .p = p,
             .runs = {runs, static_cast<size_t>(run_count)},
             .rows = 0,
             .width = p.cache.rank + p.cache.rope,
             .lanes = 1,
             .queries = nullptr,
             .sums = nullptr};
  int64_t work = 0;
  for (const AttentionSequence& s : p.sequences) {
    a.rows = std::max(a.rows, s.first_row + s.rows);
    work +=
        int64_t{s.rows} * p.heads * p.cache.rank * (p.nope + p.value + 2 * (s.position + s.rows));
  }
  a.lanes = lanes_for(ctx, std::max(p.heads, a.rows), work);
  a.queries = workspace.take<float>(int64_t{a.rows} * p.heads * a.width);
  a.sums = workspace.take<float>(int64_t{a.rows} * p.heads * p.cache.rank);
  const bool tiled = ctx.compute == Compute::bfloat16 && inner.spans && p.nope <= kSpan;
  (tiled ? into_latent_space_by_tiles : into_latent_space)(a, workspace);
  (tiled ? absorbed_by_spans : absorbed_by_tiles)(a, workspace);
  const bool stored = inner.columns && parity_takes(p.kv_b.dtype, 1);  // both are AVX2's
  (tiled    ? out_of_latent_space_by_tiles
   : stored ? out_of_latent_space_as_stored
            : out_of_latent_space)(a, workspace);
}

}  // namespace fathom::cpu
