// What can a backend compute? One table of operations; kernels/cpu fills it for each instruction
// set (chosen at run time), kernels/cuda once more. Every operation takes one plain struct; its
// pointers are the device's (device.h), spans of parameters the host's unless said otherwise. All
// of them are batch-invariant: a row's bits depend on that row (and, for attention, its cached
// context) only, not on the other rows, the number of threads or where a prompt was cut. Sums run
// over fixed lanes in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/ids.h"
#include "kernels/device.h"
#include "kernels/tensor.h"

namespace fathom {

// How products are taken. float32: weights widened exactly, float32 multiply-add. bfloat16:
// activations rounded to bf16 first, products of bf16, float32 sums. FP8 weights are dequantised; a
// backend may round them to bf16 then or leave that out, which is closer (docs/kernels.md).
//
// fp8: as bfloat16, but linear and experts whose weights are FP8 quantise what they multiply, as it
// is given. 128 columns of a row, from column 0 on, share the scale max(largest magnitude, 1e-4) /
// 448; a code is e4m3 of x / scale, to the nearest, ties to even. `experts` quantises silu(gate) *
// up alike. Sums are float32; each is over 128 columns of code * code and then times both scales,
// or a backend scales the factors first. Such a weight's columns begin a scale block (scale_col 0).
// `exact` products, and attention's with kv_b, are not quantised.
enum class Compute : uint8_t { float32, bfloat16, fp8 };

// Runs fn(index) for index in [0, count) on the caller and its lanes; returns when all are done. A
// backend may ignore it. Implementations: kernels/cpu/lanes.h (a pool), and inline on the caller.
class Lanes {
 public:
  virtual ~Lanes() = default;
  virtual int count() const = 0;
  virtual void run(int count, void (*fn)(void* state, int index), void* state) = 0;
  // Whether the next operation follows the last one closely. Else lanes give their cores to others.
  virtual void stay_awake(bool) = 0;
  template <class F>
  void each(int count, F&& fn) {
    run(
        count,
        [](void* state, int index) { (*static_cast<std::remove_reference_t<F>*>(state))(index); },
        &fn);
  }
};

// A pass over a model, while its operations follow each other.
class AwakeLanes {
 public:
  explicit AwakeLanes(Lanes* lanes) : lanes_(lanes) {
    if (lanes_) lanes_->stay_awake(true);
  }
  ~AwakeLanes() {
    if (lanes_) lanes_->stay_awake(false);
  }
  AwakeLanes(const AwakeLanes&) = delete;
  AwakeLanes& operator=(const AwakeLanes&) = delete;

 private:
  Lanes* lanes_;
};

// Memory that lives until the step ends; grows to its largest need once and never again.
class Scratch {
 public:
  virtual ~Scratch() = default;
  virtual void* take(size_t bytes) = 0;  // 64-byte aligned, uninitialised
  virtual void reset() = 0;
  // What was taken since `mark` is free again after `rewind(mark)`: an operation gives its
  // workspace back, so the next one finds it warm in cache.
  virtual size_t mark() const = 0;
  virtual void rewind(size_t mark) = 0;
  template <class T>
  std::span<T> take_span(size_t n) {
    return {static_cast<T*>(take(n * sizeof(T))), n};
  }
};

struct OpContext {
  Lanes* lanes = nullptr;
  Scratch* scratch = nullptr;
  Compute compute = Compute::float32;
  Device* device = nullptr;
};

// Rows quantised for products under Compute::fp8. Operations that feed products write them beside
// `out` where Ops::product_codes says so, linear and experts take them beside x: the bits are those
// of quantising what `out` holds.
struct QuantisedRows {
  uint8_t* codes = nullptr;  // [rows, width] e4m3; null where rows are not quantised
  int64_t stride = 0;        // bytes, a multiple of 16
  float* scales = nullptr;   // of row t and columns [128 b, 128 b + 128): [b * scale_stride + t]
  int64_t scale_stride = 0;  // a multiple of 128, no less than the rows
};

struct EmbedParams {  // out[t] = table[tokens[t] - first_row]; rows outside the view give zeros
                      // (vocab shards)
  std::span<const TokenId> tokens;  // on the device
  Weight table;                     // [rows, hidden]
  int32_t first_row = 0;
  float* out = nullptr;  // [tokens, hidden]
};

// Ids that a sampler left on the device become the tokens of rows: tokens[i] = drawn[from[i]] where
// from[i] >= 0.
struct FeedTokensParams {
  const TokenId* drawn = nullptr;
  const int32_t* from = nullptr;  // [rows]
  int32_t rows = 0;
  TokenId* tokens = nullptr;  // [rows]
};

struct RmsNormParams {       // out = weight * x / sqrt(mean(x^2) + eps)
  const float* x = nullptr;  // [rows, width], row stride x_stride
  int64_t x_stride = 0;
  Weight weight;  // [1, width], any dtype
  float eps = 1e-6f;
  int32_t rows = 0, width = 0;
  void* out = nullptr;  // row stride out_stride; may be x when it is float32
  DType out_dtype = DType::f32;
  int64_t out_stride = 0;
  QuantisedRows codes;  // or none
};

// x += add, then RmsNormParams of x: the residual stream between two halves of a layer.
struct AddNormParams {
  float* x = nullptr;          // [rows, width], dense
  const float* add = nullptr;  // the same
  Weight weight;               // [1, width], any dtype
  float eps = 1e-6f;
  int32_t rows = 0, width = 0;
  void* out = nullptr;  // row stride out_stride
  DType out_dtype = DType::f32;
  int64_t out_stride = 0;
  QuantisedRows codes;  // or none
};

struct LinearParams {       // y = x W^T
  const void* x = nullptr;  // [rows, weight.cols]
  DType x_dtype = DType::f32;
  int64_t x_stride = 0;
  int32_t rows = 0;
  Weight weight;
  QuantisedRows codes;  // of x, or none
  float* y = nullptr;   // [rows, weight.rows]
  int64_t y_stride = 0;
  bool exact = false;  // float32 products whatever the context says (router logits)
};

struct AddBiasParams {          // y[t] += bias
  float* y = nullptr;           // [rows, width], dense
  const float* bias = nullptr;  // [width]
  int32_t rows = 0, width = 0;
};

struct GatherRowsParams {    // out[i] = x[from[i]]
  const float* x = nullptr;  // rows of x_stride
  int64_t x_stride = 0;
  const int32_t* from = nullptr;  // [rows]
  int32_t rows = 0, width = 0;
  float* out = nullptr;  // [rows, width], dense
};

struct RopeParams {  // rotates pairs in place: adjacent ones (2i, 2i + 1), or (i, i + width / 2)
  float* x =
      nullptr;  // [rows, heads, width]; element (t, h, i) at x[t*row_stride + h*head_stride + i]
  int64_t row_stride = 0, head_stride = 0;
  int32_t rows = 0, heads = 0, width = 0;
  const int32_t* positions = nullptr;  // [rows]
  const float* frequencies =
      nullptr;             // [width / 2]; angle = float(position) * frequency, in float32
  float magnitude = 1.0f;  // multiplies cos and sin
  bool halves = false;     // pairs (i, i + width / 2), as Llama and Qwen have them
};

// A latent of 8 bits: c is rounded to int8 in groups of kLatentGroup values, each times a float32
// scale (the group's largest magnitude / 127); the rope key stays bf16. One token is [scales | rope
// key | int8 values], filled up to 4 bytes.
inline constexpr int32_t kLatentGroup = 64;
constexpr int32_t latent_scales(int32_t rank) { return (rank + kLatentGroup - 1) / kLatentGroup; }

// Elements of dtype that one token's latent and rope key take.
constexpr int64_t latent_stride(DType dtype, int32_t rank, int32_t rope) {
  if (dtype != DType::i8) return int64_t{rank} + rope;
  return (int64_t{latent_scales(rank)} * 4 + rope * 2 + rank + 3) / 4 * 4;
}

// A paged cache of latents, one layer: token slot s of block b stands at base + b*block_stride +
// s*latent_stride (elements of dtype). Values are [c (rank) | k_pe (rope)], or as said above for
// i8.
struct LatentCache {
  void* base = nullptr;
  DType dtype = DType::f32;  // f32 | bf16 | i8
  int64_t block_stride = 0;
  int32_t block_tokens = 0;
  int32_t rank = 0, rope = 0;
};

struct CacheWriteParams {         // stores row t at slots[t] = block * block_tokens + offset
  const float* latent = nullptr;  // [rows, rank], stride latent_stride
  int64_t latent_stride = 0;
  const float* rope_key = nullptr;  // [rows, rope], stride rope_stride
  int64_t rope_stride = 0;
  int32_t rows = 0;
  const int64_t* slots = nullptr;  // [rows]; a negative slot stores nothing
  LatentCache cache;
};

// What stands between the compressed projections of an MLA layer and its attention, in one go:
// queries are normed; of each row of the other projection, [latent (rank) | rope key (rope)], the
// latent is normed, the key turned, and both stored. x stays as it is. Either part may have no
// rows.
struct LatentWriteParams {
  const float* x = nullptr;  // [rows, rank + rope], row stride x_stride
  int64_t x_stride = 0;
  Weight weight;  // [1, rank], any dtype
  float eps = 1e-6f;
  int32_t rows = 0;
  const int32_t* positions = nullptr;  // as in RopeParams
  const float* frequencies = nullptr;
  float magnitude = 1.0f;
  bool halves = false;
  const int64_t* slots = nullptr;  // as in CacheWriteParams
  LatentCache cache;
};
struct MlaPrepareParams {
  RmsNormParams q;
  LatentWriteParams latent;
};

// A paged cache of keys and values, one layer: token slot s of block b holds `width` values at
// base + b*block_stride + s*width (elements of dtype): [keys (heads, dim) | values (heads, dim)].
// `heads` are those key-value heads that the pool holds; a rank has its own run of them.
struct KvCache {
  void* base = nullptr;
  DType dtype = DType::f32;  // f32 | bf16
  int64_t block_stride = 0;
  int32_t block_tokens = 0;
  int32_t heads = 0, dim = 0;  // width = 2 * heads * dim
};

struct KvWriteParams {       // stores row t at slots[t] = block * block_tokens + offset
  const float* k = nullptr;  // [rows, heads, dim], stride k_stride
  int64_t k_stride = 0;
  const float* v = nullptr;  // the same for values
  int64_t v_stride = 0;
  int32_t rows = 0;
  int32_t first_head = 0, heads = 0;  // the cache's heads [first_head, first_head + heads)
  const int64_t* slots = nullptr;     // [rows]; a negative slot stores nothing
  KvCache cache;
};

// Queries of one sequence: `rows` consecutive positions starting at `position`, over its cached
// context, which already holds these rows' own latents. Row t attends to positions 0 .. position +
// t.
struct AttentionSequence {
  int32_t first_row = 0;  // into q and out
  int32_t rows = 0;
  int32_t position = 0;
  std::span<const BlockIndex> blocks;
};

// The same sequences where a kernel that can not follow host pointers reads them, laid out once a
// step for all layers. Rows beyond the sequences' own pad a batch to a recorded size: a run of such
// a row has position -1, attends to nothing, and its output is zeros.
struct AttentionRun {
  int32_t first_row = 0, rows = 0;
  int32_t position = 0;
  int32_t first_block = 0;  // of its table, in AttentionTables::blocks
};
struct AttentionTables {
  const AttentionRun* runs = nullptr;  // [count], on the device
  const BlockIndex* blocks = nullptr;  // on the device
  const int32_t* row_runs = nullptr;  // [rows_total], on the device: the run of each attending row,
                                      // in ascending order of (run, row)
  int32_t count = 0;                  // runs, padded ones included
  int32_t rows_total = 0, rows_max = 0;  // of all runs, of the longest
  int32_t context_max = 0;               // bound on position + rows of every run
};

struct MlaParams {
  std::span<const AttentionSequence> sequences;  // the CPU reads these,
  AttentionTables tables;                        // GPUs these
  const float* q = nullptr;     // [rows, heads, nope + rope], rope part already rotated
  int64_t q_stride = 0;         // of a row
  int32_t heads = 0;            // of this rank
  int32_t nope = 0, value = 0;  // dn, dv; rank and rope stand in cache
  Weight kv_b;                  // this rank's [heads * (nope + value), rank]
  LatentCache cache;
  float scale = 1.0f;
  void* out = nullptr;  // [rows, heads, value]
  DType out_dtype = DType::f32;
  int64_t out_stride = 0;
};

// Attention in groups of heads: query head h attends with the cache's key-value head first_kv_head
// + h / (heads / kv_heads). dim is at most 256.
struct GqaParams {
  std::span<const AttentionSequence> sequences;
  AttentionTables tables;
  const float* q = nullptr;                 // [rows, heads, cache.dim], already rotated
  int64_t q_stride = 0;                     // of a row
  int32_t heads = 0;                        // of this rank, a multiple of kv_heads
  int32_t first_kv_head = 0, kv_heads = 0;  // this rank's run
  KvCache cache;
  float scale = 1.0f;
  void* out = nullptr;  // [rows, heads, cache.dim]
  DType out_dtype = DType::f32;
  int64_t out_stride = 0;
};

struct SwigluParams {  // out = silu(gate) * up
  const float* gate = nullptr;
  const float* up = nullptr;
  int64_t in_stride = 0;
  int32_t rows = 0, width = 0;
  void* out = nullptr;  // may be gate when it is float32
  DType out_dtype = DType::f32;
  int64_t out_stride = 0;
  QuantisedRows codes;  // or none
};

enum class Scoring : uint8_t { sigmoid, softmax };
enum class GroupScore : uint8_t { none, top2_sum, max };  // V3, V2: math.md 2.4

struct RouteParams {
  const float* logits = nullptr;  // [rows, experts]
  const float* bias = nullptr;    // [experts] or null
  int32_t rows = 0, experts = 0;
  int32_t groups = 1, groups_kept = 1;
  GroupScore group_score = GroupScore::top2_sum;
  Scoring scoring = Scoring::sigmoid;
  int32_t chosen = 0;  // experts per token
  bool normalise = true;
  float factor = 1.0f;  // multiplies the final weights
  // [rows] or null: rows of a negative slot pad the batch and choose nobody (ids -1, weights 0).
  const int64_t* slots = nullptr;
  int32_t* ids = nullptr;    // [rows, chosen], by falling score, ties to the lower id
  float* weights = nullptr;  // [rows, chosen]
};

struct ExpertWeights {
  Weight gate, up, down;
};

// out[t] += sum over slots j in order of weights[t, j] * expert(ids[t, j])(x[t]), for experts in
// [first_expert, first_expert + experts.size()); others, and negative ids, belong to nobody here.
// Each expert is read once per call. On a GPU the experts of a layer lie at equal distances: gate
// of expert e + 1 as far behind gate of e everywhere, likewise up, down and their scales.
struct ExpertsParams {
  const void* x = nullptr;  // [rows, hidden]
  DType x_dtype = DType::f32;
  int64_t x_stride = 0;
  QuantisedRows codes;  // of x, or none
  int32_t rows = 0;
  std::span<const ExpertWeights> experts;
  int32_t first_expert = 0;
  const int32_t* ids = nullptr;  // [rows, chosen]
  const float* weights = nullptr;
  int32_t chosen = 0;
  float* out = nullptr;  // [rows, hidden], added to
  int64_t out_stride = 0;
};

// out[t] += sum over slots j in order of weights[t, j] * y[at[t, j]]: the last step of `experts`,
// for results that were computed in several calls or places. A negative place adds nothing.
struct AddSlotsParams {
  const float* y = nullptr;     // rows of width, dense
  const int32_t* at = nullptr;  // [rows, chosen], rows of y
  const float* weights = nullptr;
  int32_t rows = 0, chosen = 0, width = 0;
  float* out = nullptr;  // [rows, width], added to
  int64_t out_stride = 0;
};

struct AddParams {  // x += y
  float* x = nullptr;
  const float* y = nullptr;
  int64_t count = 0;
};

struct Ops {
  const char* name;  // "amx", "avx512", "avx2", "portable", "cuda"
  // What operations that feed products should write under bfloat16 and fp8: linear, experts and kin
  // accept it as x. float32 always is accepted.
  DType product_input;
  bool product_codes;  // whether under fp8 they should write, and products take, QuantisedRows
  void (*embed)(const OpContext&, const EmbedParams&);
  void (*feed_tokens)(const OpContext&, const FeedTokensParams&);
  void (*rms_norm)(const OpContext&, const RmsNormParams&);
  void (*add_norm)(const OpContext&, const AddNormParams&);
  void (*linear)(const OpContext&, const LinearParams&);
  void (*add_bias)(const OpContext&, const AddBiasParams&);
  void (*gather_rows)(const OpContext&, const GatherRowsParams&);
  void (*rope)(const OpContext&, const RopeParams&);
  void (*cache_write)(const OpContext&, const CacheWriteParams&);
  void (*mla_prepare)(const OpContext&, const MlaPrepareParams&);
  void (*mla_absorbed)(const OpContext&, const MlaParams&);  // attends in latent space: math.md 2.2
  void (*mla_expanded)(const OpContext&,
                       const MlaParams&);  // expands keys and values in tiles: math.md 2.1
  void (*kv_write)(const OpContext&, const KvWriteParams&);
  void (*gqa)(const OpContext&, const GqaParams&);
  void (*swiglu)(const OpContext&, const SwigluParams&);
  void (*route)(const OpContext&, const RouteParams&);
  void (*experts)(const OpContext&, const ExpertsParams&);
  void (*add_slots)(const OpContext&, const AddSlotsParams&);
  void (*add)(const OpContext&, const AddParams&);
};

}  // namespace fathom
