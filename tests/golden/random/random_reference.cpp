// The forward pass once more, as plainly as it can be said: double precision, one token after
// another, every expert and every key in turn. Nothing here is shared with the engine.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "random_model.h"

namespace fathom {
namespace {

using Vector = std::vector<double>;

Vector product(const NumberTable& w, const Vector& x) {
  CHECK(w.cols == static_cast<int>(x.size()));
  Vector y(static_cast<size_t>(w.rows));
  for (int r = 0; r < w.rows; ++r)
    for (int c = 0; c < w.cols; ++c)
      y[static_cast<size_t>(r)] += w.at(r, c) * x[static_cast<size_t>(c)];
  return y;
}

Vector rms(const Vector& x, const NumberTable& w, double eps) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  Vector y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = w.v[i] * x[i] * scale;
  return y;
}

Vector part(const Vector& x, int begin, int count) {
  return {x.begin() + begin, x.begin() + begin + count};
}

double magnitude(double s, double a) { return s <= 1 ? 1 : 0.1 * a * std::log(s) + 1; }

class Reference {
 public:
  explicit Reference(const RandomModel& model) : m_(model), s_(model.shape) {
    turned_ = grouped(s_) ? s_.head_dim : s_.rope;
    for (int i = 0; i < turned_ / 2; ++i) frequencies_.push_back(frequency(i));
    scale_ = 1 / std::sqrt(static_cast<double>(grouped(s_) ? s_.head_dim : s_.nope + s_.rope));
    if (s_.scaling == "yarn" && s_.mscale_all_dim != 0)
      scale_ *= std::pow(magnitude(s_.factor, s_.mscale_all_dim), 2);
    if (s_.scaling == "yarn")
      stretch_ = s_.attention_factor > 0
                     ? s_.attention_factor
                     : magnitude(s_.factor, s_.mscale) / magnitude(s_.factor, s_.mscale_all_dim);
    cache_.resize(static_cast<size_t>(s_.layers));
  }

  Vector next(int token) {
    Vector x = row("model.embed_tokens.weight", token);
    for (int i = 0; i < s_.layers; ++i) {
      prefix_ = "model.layers." + std::to_string(i) + ".";
      const Vector normed = rms(x, w("input_layernorm.weight"), s_.eps);
      auto& cache = cache_[static_cast<size_t>(i)];
      add(x, grouped(s_) ? grouped_attention(normed, cache) : attention(normed, cache));
      const Vector u = rms(x, w("post_attention_layernorm.weight"), s_.eps);
      const bool moe = !grouped(s_) && i >= s_.dense_layers && i % s_.freq == 0;
      add(x, moe ? experts(u) : mlp("mlp.", u));
    }
    ++position_;
    const NumberTable& head =
        m_.tensors.at(s_.tied ? "model.embed_tokens.weight" : "lm_head.weight");
    return product(head, rms(x, m_.tensors.at("model.norm.weight"), s_.eps));
  }

 private:
  struct Cached {
    Vector latent, key;  // or values and keys of all key-value heads
  };

  const NumberTable& w(const std::string& name) const { return m_.tensors.at(prefix_ + name); }
  Vector row(const std::string& name, int r) const {
    const NumberTable& t = m_.tensors.at(name);
    return part(t.v, r * t.cols, t.cols);
  }
  static void add(Vector& x, const Vector& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  double frequency(int i) const {
    const double d = turned_, f = std::pow(s_.theta, -2.0 * i / d);
    if (s_.scaling == "linear") return f / s_.factor;
    if (s_.scaling == "llama3") {
      const double turns = s_.original * f / (2 * std::numbers::pi);
      if (turns < s_.low_factor) return f / s_.factor;
      if (turns > s_.high_factor) return f;
      const double s = (turns - s_.low_factor) / (s_.high_factor - s_.low_factor);
      return (1 - s) * f / s_.factor + s * f;
    }
    if (s_.scaling != "yarn") return f;
    const auto dim = [&](double n) {
      return d * std::log(s_.original / (2 * std::numbers::pi * n)) / (2 * std::log(s_.theta));
    };
    const double lo = std::max(std::floor(dim(32)), 0.0);
    double hi = std::min(std::ceil(dim(1)), d - 1);
    if (hi == lo) hi += 0.001;
    const double g = std::clamp((i - lo) / (hi - lo), 0.0, 1.0);
    return f * (1 - g) + f / s_.factor * g;
  }

  Vector rope(Vector x) const {
    for (size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = position_ * frequencies_[i], c = std::cos(angle) * stretch_,
                   s = std::sin(angle) * stretch_;
      const size_t first = grouped(s_) ? i : 2 * i;
      const size_t second = grouped(s_) ? i + frequencies_.size() : 2 * i + 1;
      const double a = x[first], b = x[second];
      x[first] = a * c - b * s;
      x[second] = a * s + b * c;
    }
    return x;
  }

  Vector attention(const Vector& u, std::vector<Cached>& cache) const {
    const std::string a = "self_attn.";
    const Vector q = s_.q_rank == 0 ? product(w(a + "q_proj.weight"), u)
                                    : product(w(a + "q_b_proj.weight"),
                                              rms(biased(a + "q_a_proj", u, s_.qkv_bias),
                                                  w(a + "q_a_layernorm.weight"), 1e-6));
    const Vector kv = biased(a + "kv_a_proj_with_mqa", u, s_.qkv_bias);
    cache.push_back({rms(part(kv, 0, s_.kv_rank), w(a + "kv_a_layernorm.weight"), 1e-6),
                     rope(part(kv, s_.kv_rank, s_.rope))});
    std::vector<Vector> expanded;
    for (const Cached& c : cache) expanded.push_back(product(w(a + "kv_b_proj.weight"), c.latent));
    Vector out;
    for (int h = 0; h < s_.heads; ++h) {
      const Vector nope = part(q, h * (s_.nope + s_.rope), s_.nope);
      const Vector turned = rope(part(q, h * (s_.nope + s_.rope) + s_.nope, s_.rope));
      const int base = h * (s_.nope + s_.value);
      Vector scores;
      for (size_t t = 0; t < cache.size(); ++t)
        scores.push_back(
            scale_ *
            (std::inner_product(nope.begin(), nope.end(), expanded[t].begin() + base, 0.0) +
             std::inner_product(turned.begin(), turned.end(), cache[t].key.begin(), 0.0)));
      const double top = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s - top);
      for (int v = 0; v < s_.value; ++v) {
        double o = 0;
        for (size_t t = 0; t < cache.size(); ++t)
          o += scores[t] / sum * expanded[t][static_cast<size_t>(base + s_.nope + v)];
        out.push_back(o);
      }
    }
    return biased(a + "o_proj", out, s_.output_bias);
  }

  // y = W u (+ b)
  Vector biased(const std::string& name, const Vector& u, bool bias) const {
    Vector y = product(w(name + ".weight"), u);
    if (bias) add(y, w(name + ".bias").v);
    return y;
  }

  Vector turned_heads(const Vector& x, int heads) const {
    Vector out;
    for (int h = 0; h < heads; ++h) {
      const Vector head = rope(part(x, h * s_.head_dim, s_.head_dim));
      out.insert(out.end(), head.begin(), head.end());
    }
    return out;
  }

  Vector grouped_attention(const Vector& u, std::vector<Cached>& cache) const {
    const std::string a = "self_attn.";
    const Vector q = turned_heads(biased(a + "q_proj", u, s_.qkv_bias), s_.heads);
    cache.push_back({biased(a + "v_proj", u, s_.qkv_bias),
                     turned_heads(biased(a + "k_proj", u, s_.qkv_bias), s_.kv_heads)});
    Vector out;
    for (int h = 0; h < s_.heads; ++h) {
      const int base = h / (s_.heads / s_.kv_heads) * s_.head_dim;
      const Vector query = part(q, h * s_.head_dim, s_.head_dim);
      Vector scores;
      for (const Cached& c : cache)
        scores.push_back(scale_ *
                         std::inner_product(query.begin(), query.end(), c.key.begin() + base, 0.0));
      const double top = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s - top);
      for (int i = 0; i < s_.head_dim; ++i) {
        double o = 0;
        for (size_t t = 0; t < cache.size(); ++t)
          o += scores[t] / sum * cache[t].latent[static_cast<size_t>(base + i)];
        out.push_back(o);
      }
    }
    return biased(a + "o_proj", out, s_.output_bias);
  }

  Vector mlp(const std::string& name, const Vector& u) const {
    Vector gate = biased(name + "gate_proj", u, s_.mlp_bias);
    const Vector up = biased(name + "up_proj", u, s_.mlp_bias);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    return biased(name + "down_proj", gate, s_.mlp_bias);
  }

  bool v3() const { return s_.family == "deepseek_v3"; }

  // What weighs an expert, and what chooses it.
  void score(const Vector& u, Vector& scores, Vector& chooses) const {
    scores = product(w("mlp.gate.weight"), u);
    double sum = 0;
    for (double& s : scores) sum += s = v3() ? 1 / (1 + std::exp(-s)) : std::exp(s);
    if (!v3())
      for (double& s : scores) s /= sum;
    chooses = scores;
    if (v3()) add(chooses, w("mlp.gate.e_score_correction_bias").v);
  }

  // Ids of the chosen experts.
  std::vector<int> choose(const Vector& chooses) const {
    const bool limited = v3() || s_.method == "group_limited_greedy";
    const int size = s_.experts / s_.groups;
    std::vector<std::pair<double, int>> groups;
    for (int g = 0; g < s_.groups; ++g) {
      Vector b = part(chooses, g * size, size);
      std::sort(b.rbegin(), b.rend());
      groups.push_back({-(v3() ? b[0] + b[1] : b[0]), g});
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::pair<double, int>> kept;
    for (int k = 0; k < (limited ? s_.groups_kept : s_.groups); ++k)
      for (int e = 0; e < size; ++e) {
        const int id = groups[static_cast<size_t>(k)].second * size + e;
        kept.push_back({-chooses[static_cast<size_t>(id)], id});
      }
    std::sort(kept.begin(), kept.end());
    std::vector<int> out;
    for (int k = 0; k < s_.chosen; ++k) out.push_back(kept[static_cast<size_t>(k)].second);
    return out;
  }

  Vector experts(const Vector& u) const {
    Vector scores, chooses;
    score(u, scores, chooses);
    const std::vector<int> chosen = choose(chooses);
    double sum = 1e-20;
    for (const int id : chosen) sum += scores[static_cast<size_t>(id)];
    // V3 divides and scales; V2 divides or scales, and never divides a single one.
    const bool divides = s_.normalise && (v3() || s_.chosen > 1);
    const double factor = (divides ? 1 / sum : 1) * (divides && !v3() ? 1 : s_.routed_factor);
    Vector y = s_.shared > 0 ? mlp("mlp.shared_experts.", u) : Vector(u.size());
    for (const int id : chosen) {
      const Vector out = mlp("mlp.experts." + std::to_string(id) + ".", u);
      for (size_t i = 0; i < y.size(); ++i)
        y[i] += scores[static_cast<size_t>(id)] * factor * out[i];
    }
    return y;
  }

  const RandomModel& m_;
  const RandomShape& s_;
  int turned_ = 0;  // width that rope turns
  std::vector<double> frequencies_;
  double scale_ = 1, stretch_ = 1;
  std::string prefix_;
  std::vector<std::vector<Cached>> cache_;
  int position_ = 0;
};

}  // namespace

std::vector<std::vector<double>> reference_logits(const RandomModel& model,
                                                  const std::vector<int32_t>& tokens) {
  Reference reference(model);
  std::vector<std::vector<double>> out;
  for (const int32_t t : tokens) out.push_back(reference.next(t));
  return out;
}

}  // namespace fathom
