// How do settings name types and arithmetics? One place for both directions, so that what is
// printed can be said again.
#include "engine/tp_engine.h"

namespace fathom {

std::optional<DType> kv_dtype_named(std::string_view name) {
  if (name == "float32") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  if (name == "int8") return DType::i8;
  return std::nullopt;
}

std::optional<Compute> compute_named(std::string_view name) {
  for (const Compute c : {Compute::float32, Compute::bfloat16, Compute::fp8})
    if (name_of(c) == name) return c;
  return std::nullopt;
}

std::string_view name_of(Compute compute) {
  switch (compute) {
    case Compute::float32:
      return "float32";
    case Compute::bfloat16:
      return "bfloat16";
    case Compute::fp8:
      return "fp8";
  }
  return "";
}

}  // namespace fathom
