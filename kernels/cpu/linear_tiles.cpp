// How is y = x W^T computed with matrix tiles? Rows of x are packed once, then chunks of weight
// rows are multiplied with all of them. Only products of bf16 go this way; the others are those of
// linear.cpp.
#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tiles.h"

namespace fathom::cpu {
namespace {

TileTokens packed(const Tiles& tiles, const OpContext& ctx, const LinearParams& p,
                  Workspace& workspace) {
  TileTokens x = TileTokens::of(TileSteps::of(p.weight), p.rows);
  auto* words = workspace.take<uint16_t>(x.words());
  x.data = words;
  const auto count = static_cast<int32_t>(TileTokens::tiles(p.rows));
  share_rows(ctx, count, int64_t{p.rows} * p.weight.cols, [&](int32_t t) {
    const float* rows[kTileEdge];
    const int32_t n = std::min(kTileEdge, p.rows - t * kTileEdge);
    for (int32_t i = 0; i < n; ++i)
      rows[i] = floats(p.x, p.x_dtype) + (t * kTileEdge + i) * p.x_stride;
    tiles.pack({.rows = rows,
                .count = n,
                .width = x.width,
                .steps = x.steps,
                .out = words + t * x.tile_words()});
  });
  return x;
}

}  // namespace

void linear_tiles(const Inner& inner, const OpContext& ctx, const LinearParams& p) {
  if (p.exact || ctx.compute != Compute::bfloat16) return linear(inner, ctx, p);
  if (p.rows == 0 || p.weight.rows == 0) return;
  const Tiles& tiles = *tiles_amx();
  Workspace workspace(ctx);
  const TileTokens x = packed(tiles, ctx, p, workspace);
  // A lane reads memory at about 8 weights in the time of a multiply-add of float32.
  const int64_t work = int64_t{p.weight.rows} * p.weight.cols * std::max(1, p.rows / 16);
  const int32_t panels = (p.weight.rows + kTilePanel - 1) / kTilePanel;
  const int lanes = lanes_for(ctx, panels, work);
  const int32_t step = std::max(1, panels / (lanes * 8)) * kTilePanel;
  const int chunks = (p.weight.rows + step - 1) / step;
  const auto all = static_cast<int32_t>(TileTokens::tiles(p.rows));
  const int32_t block = x.block_tiles();
  const int64_t room = tile_workspace(block * kTileEdge);
  char* rooms = workspace.take<char>(room * lanes);
  // All weights pass over one block of tokens before the next begins.
  share(ctx, lanes, chunks * ((all + block - 1) / block), [&](int lane, int job) {
    const int32_t first = job % chunks * step, tile = job / chunks * block;
    tiles.multiply({.x = x.some(tile, block),
                    .w = p.weight,
                    .first = first,
                    .outs = std::min(step, p.weight.rows - first),
                    .y = p.y + tile * kTileEdge * p.y_stride + first,
                    .y_stride = p.y_stride,
                    .workspace = rooms + lane * room});
  });
}

}  // namespace fathom::cpu
