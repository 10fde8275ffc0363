#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fathom {
namespace {

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

// The pair that turns `turns` times within the original context.
double pair_of(double turns, int32_t width, double theta, double original) {
  return width * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

void apply_yarn(RopeTable& table, int32_t width, double theta, const RopeScaling& s) {
  const double low =
      std::max(std::floor(pair_of(s.beta_fast, width, theta, s.original_context)), 0.0);
  double high =
      std::min(std::ceil(pair_of(s.beta_slow, width, theta, s.original_context)), width - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < table.frequencies.size(); ++i) {
    const auto ramp = static_cast<float>((static_cast<double>(i) - low) / (high - low));
    const float keep = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    const float f = table.frequencies[i];
    const float stretched = f / static_cast<float>(s.factor);
    table.frequencies[i] = stretched * (1.0f - keep) + f * keep;
  }
  const double all = yarn_magnitude(s.factor, s.mscale_all_dim);
  table.magnitude =
      static_cast<float>(s.magnitude != 0 ? s.magnitude : yarn_magnitude(s.factor, s.mscale) / all);
  if (s.mscale_all_dim != 0) table.softmax_factor = static_cast<float>(all * all);
}

// Long waves are stretched, short ones kept, those between blended.
void apply_llama3(RopeTable& table, const RopeScaling& s) {
  const auto factor = static_cast<float>(s.factor);
  const double longest = s.original_context / s.low_factor;
  const double shortest = s.original_context / s.high_factor;
  for (float& f : table.frequencies) {
    const float wave = static_cast<float>(2 * std::numbers::pi) / f;
    if (wave < shortest) continue;
    if (wave > longest) {
      f /= factor;
      continue;
    }
    const float blend =
        (static_cast<float>(s.original_context) / wave - static_cast<float>(s.low_factor)) /
        static_cast<float>(s.high_factor - s.low_factor);
    f = (1 - blend) * f / factor + blend * f;
  }
}

}  // namespace

RopeTable make_rope_table(int32_t width, double theta, const RopeScaling& scaling) {
  RopeTable table;
  table.frequencies.resize(static_cast<size_t>(width / 2));
  for (size_t i = 0; i < table.frequencies.size(); ++i) {
    const auto power = static_cast<float>(std::pow(theta, 2.0 * static_cast<double>(i) / width));
    table.frequencies[i] = 1.0f / power;
  }
  if (scaling.kind == RopeScaling::Kind::linear)
    for (float& f : table.frequencies) f /= static_cast<float>(scaling.factor);
  if (scaling.kind == RopeScaling::Kind::llama3) apply_llama3(table, scaling);
  if (scaling.kind == RopeScaling::Kind::yarn) apply_yarn(table, width, theta, scaling);
  return table;
}

}  // namespace fathom
