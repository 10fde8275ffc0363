// How do operations meet an instruction set? Each Ops is the shared operations bound to one set of
// inner loops. avx512 takes the BF16 dot product when the CPU has it; every other choice is by
// name.
#include "kernels/cpu/table.h"

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/inner.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/quantised.h"
#include "kernels/cpu/tiles.h"

namespace fathom {
namespace {

enum Set { portable, avx2, avx512, avx512_bf16, amx };

const Inner* inner_of(Set set) {
  switch (set) {
    case portable:
      return &kInnerPortable;
    case avx2:
      return inner_avx2();
    case avx512:
      return inner_avx512(false);
    case avx512_bf16:
      return inner_avx512(true);
    case amx:
      return tiles_amx() ? inner_amx() : nullptr;
  }
  return nullptr;
}

// Only linear and experts know Compute::fp8.
template <Set set, class Params, void (*operation)(const Inner&, const OpContext&, const Params&)>
void bound(const OpContext& ctx, const Params& params) {
  operation(*inner_of(set), cpu::unquantised(ctx), params);
}
template <Set set, class Params, void (*operation)(const Inner&, const OpContext&, const Params&)>
void quantising(const OpContext& ctx, const Params& params) {
  cpu::quantised<Params, operation>(*inner_of(set), ctx, params);
}

template <Set set>
constexpr auto kLinear = set == amx    ? cpu::linear_tiles
                         : set == avx2 ? cpu::linear_parity
                                       : cpu::linear;
template <Set set>
constexpr auto kExperts = set == amx    ? cpu::experts_tiles
                          : set == avx2 ? cpu::experts_parity
                                        : cpu::experts;

template <Set set>
const Ops* ops_of() {
  if (!inner_of(set)) return nullptr;
  static const Ops ops = {
      .name = inner_of(set)->name,
      .product_input = DType::f32,
      .product_codes = false,
      .embed = bound<set, EmbedParams, cpu::embed>,
      .feed_tokens = bound<set, FeedTokensParams, cpu::feed_tokens>,
      .rms_norm = bound<set, RmsNormParams, cpu::rms_norm>,
      .add_norm = bound<set, AddNormParams, cpu::add_norm>,
      .linear = quantising<set, LinearParams, kLinear<set>>,
      .add_bias = bound<set, AddBiasParams, cpu::add_bias>,
      .gather_rows = bound<set, GatherRowsParams, cpu::gather_rows>,
      .rope = bound<set, RopeParams, cpu::rope>,
      .cache_write = bound<set, CacheWriteParams, cpu::cache_write>,
      .mla_prepare = bound<set, MlaPrepareParams, cpu::mla_prepare>,
      .mla_absorbed = bound<set, MlaParams, cpu::mla_absorbed>,
      .mla_expanded = bound<set, MlaParams, cpu::mla_expanded>,
      .kv_write = bound<set, KvWriteParams, cpu::kv_write>,
      .gqa = bound<set, GqaParams, cpu::gqa>,
      .swiglu = bound<set, SwigluParams, cpu::swiglu>,
      .route = bound<set, RouteParams, cpu::route>,
      .experts = quantising<set, ExpertsParams, kExperts<set>>,
      .add_slots = bound<set, AddSlotsParams, cpu::add_slots>,
      .add = bound<set, AddParams, cpu::add>,
  };
  return &ops;
}

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
bool has_amx() {
  return has_avx512_bf16() && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("gfni") && amx_allowed();
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_avx512_bf16() { return false; }
bool has_amx() { return false; }
#endif

}  // namespace

const Ops* cpu_ops_named(std::string_view name) {
  if (name == "portable") return ops_of<portable>();
  if (name == "avx2" && has_avx2()) return ops_of<avx2>();
  if (name == "avx512" && has_avx512_bf16()) return ops_of<avx512_bf16>();
  if (name == "avx512" && has_avx512()) return ops_of<avx512>();
  if (name == "amx" && has_amx()) return ops_of<amx>();
  return nullptr;
}

const Inner& cpu_inner(const Ops& ops) {
  if (&ops == ops_of<amx>()) return *inner_of(amx);
  if (&ops == ops_of<avx512_bf16>()) return *inner_of(avx512_bf16);
  if (&ops == ops_of<avx512>()) return *inner_of(avx512);
  if (&ops == ops_of<avx2>()) return *inner_of(avx2);
  return *inner_of(portable);
}

const Ops& cpu_ops() {
  static const Ops& chosen = []() -> const Ops& {
    for (const char* name : {"amx", "avx512", "avx2"})
      if (const Ops* ops = cpu_ops_named(name)) return *ops;
    return *cpu_ops_named("portable");
  }();
  return chosen;
}

}  // namespace fathom
