#include "model/decoder.h"

namespace fathom {

Decoder::Decoder(const RankParts& parts, const ModelWeights& weights)
    : ops_(parts),
      weights_(weights),
      room_(ops_.device()),
      attention_(make_attention(ops_, room_, parts)),
      batch_(ops_.device()),
      residual_(ops_.device()),
      partial_(ops_.device()),
      normed_(ops_.device(), ops_.product_input(), ops_.product_codes()),
      hidden_(ops_.device()),
      pair_(ops_.device()),
      feed_forward_(ops_, room_),
      logits_(ops_.device()) {
  if (weights_.mtp && ops_.device().is_host() && ops_.context().compute != Compute::float32)
    draft_head_.emplace(weights_.ends.lm_head);
}

void Decoder::keep_rows(int32_t rows) {
  rows_kept_ = std::max(rows_kept_, rows);
  residual_.at_least(int64_t{rows} * ops_.config().hidden);
}

void Decoder::reserve(const Batch& batch, int32_t rows) {
  const ModelConfig& c = ops_.config();
  const int64_t n = rows;
  ops_.set_rows(rows);
  keep_rows(rows);
  normed_.at_least(n, c.hidden);
  if (ops_.device().is_host())
    room_.set_result(n * c.hidden * static_cast<int64_t>(sizeof(float)));
  else
    partial_.at_least(n * c.hidden);
  attention_->reserve(batch, rows);
  feed_forward_.reserve(ops_, rows);
}

// Before memory is taken: until all ranks have come, another's device may wait for this one.
Status Decoder::forward(const Batch& batch, const LogitsSink& sink) {
  const AwakeLanes awake(ops_.context().lanes);
  last_norm_ = &weights_.ends.final_norm;
  auto padding = padding_for(batch, ops_, logits_.tile_rows());
  FATHOM_TRY(const int32_t largest, ops_.begin_pass(batch.rows(), padding));
  // The runs that draft may be padded to what the largest rank has by then, which is no more.
  if (largest > 0 && ops_.experts_on_device()) keep_rows(most_padded(largest));
  if (padding) {
    padding->logits = padding->rows;
    reserve(batch, padding->rows);
    logits_.reserve(ops_.config(), ops_.shard(), padding->rows);
    batch_.lay_out_padded(batch, *padding);
    ops_.feed(batch_);  // other draws in every step, so it is not part of what is recorded
    const auto step = [&]() -> Status {
      ops_.set_rows(padding->rows);
      FATHOM_CHECKED(run_layers());
      return logits_.compute(ops_, *last_norm_, weights_.ends.lm_head, residual_.data(),
                             batch_.logit_rows(), padding->rows);
    };
    FATHOM_CHECKED(ops_.replay({.rows = padding->rows, .context = padding->context}, step));
    return logits_.deliver(ops_, 0, batch.rows(), sink);
  }
  reserve(batch, batch.rows());
  batch_.lay_out(batch);
  ops_.feed(batch_);
  FATHOM_CHECKED(run_layers());
  return logits_.run(ops_, *last_norm_, weights_.ends.lm_head, residual_.data(),
                     batch_.logit_rows(), static_cast<int32_t>(batch.logit_rows().size()), sink);
}

Status Decoder::run_layers() {
  const ModelConfig& c = ops_.config();
  ops_.embed(weights_.ends.embed, batch_, residual_.data());
  ops_.tap(-1, "embed", residual_.data());
  ops_.norm(residual_.data(), c.hidden, weights_.layers.front().input_norm, c.norm_eps, normed());
  for (size_t i = 0; i < weights_.layers.size(); ++i)
    FATHOM_CHECKED(
        run_layer(weights_.layers[i], i,
                  i + 1 < weights_.layers.size() ? &weights_.layers[i + 1].input_norm : nullptr));
  return {};
}

void Decoder::reserve_draft(const Batch& batch, int32_t rows) {
  const int64_t n = rows;
  hidden_.at_least(n * ops_.config().hidden);
  pair_.at_least(n * 2 * ops_.config().hidden);
  reserve(batch, rows);
}

// A padded run must fit where residual_ is: what it goes on from lies there.
Status Decoder::draft(const Batch& batch, std::span<const int32_t> from, const LogitsSink& sink) {
  if (!weights_.mtp)
    return Error{Code::unimplemented, "this model has no module that drafts", "draft_layers"};
  CHECK(last_norm_ != nullptr);
  CHECK(static_cast<int32_t>(from.size()) == batch.rows() && batch.rows() <= rows_kept_);
  const AwakeLanes awake(ops_.context().lanes);
  const Weight* const own_norm = &weights_.mtp->head_norm;
  const auto wanted = static_cast<int32_t>(batch.logit_rows().size());
  auto padding = draft_padding_for(batch, ops_, logits_.tile_rows());
  if (padding && padding->rows > rows_kept_) padding.reset();
  FATHOM_CHECKED(ops_.begin_pass(batch.rows(), padding));
  if (padding) {
    CHECK(padding->rows <= rows_kept_);
    reserve_draft(batch, padding->rows);
    logits_.reserve(ops_.config(), ops_.shard(), padding->logits);
    batch_.lay_out_padded(batch, *padding, from);
    const int32_t what = 1 + 2 * padding->logits + (last_norm_ == own_norm ? 1 : 0);
    const ReplayKey key{.what = what, .rows = padding->rows, .context = padding->context};
    const auto run = [&]() -> Status {
      ops_.set_rows(padding->rows);
      FATHOM_CHECKED(run_draft());
      if (padding->logits == 0) return {};
      return logits_.compute(ops_, *own_norm, draft_head(), residual_.data(), batch_.logit_rows(),
                             padding->logits);
    };
    FATHOM_CHECKED(ops_.replay(key, run));
    last_norm_ = own_norm;
    return wanted > 0 ? logits_.deliver(ops_, 0, wanted, sink) : Status();
  }
  batch_.lay_out(batch, from);
  reserve_draft(batch, batch.rows());
  FATHOM_CHECKED(run_draft());
  last_norm_ = own_norm;
  return logits_.run(ops_, *own_norm, draft_head(), residual_.data(), batch_.logit_rows(), wanted,
                     sink);
}

// z = join [norm(embedding of the token) | norm(hidden state)], then one layer. The hidden state is
// taken after the last norm of what made it: the model's, or the module's own when it goes on from
// its own guess.
Status Decoder::run_draft() {
  const ModelConfig& c = ops_.config();
  const MtpWeights& w = *weights_.mtp;
  const int64_t pair = int64_t{2} * c.hidden;
  ops_.gather(residual_.data(), batch_.from(), c.hidden, hidden_.data());
  ops_.norm(hidden_.data(), c.hidden, *last_norm_, c.norm_eps,
            {hidden_.data(), DType::f32, c.hidden});
  ops_.norm(hidden_.data(), c.hidden, w.hidden_norm, c.norm_eps,
            {pair_.data() + c.hidden, DType::f32, pair});
  ops_.embed(weights_.ends.embed, batch_, partial());
  ops_.norm(partial(), c.hidden, w.token_norm, c.norm_eps, {pair_.data(), DType::f32, pair});
  ops_.linear({pair_.data(), DType::f32, pair}, w.join, residual_.data());
  ops_.norm(residual_.data(), c.hidden, w.layer.input_norm, c.norm_eps, normed());
  return run_layer(w.layer, weights_.layers.size(), nullptr);
}

// What is recorded of a rank without rows is a piece of its own; the others know it by its rows.
Status Decoder::assist(const AssistedPass& pass) {
  const AwakeLanes awake(ops_.context().lanes);
  const auto layers = [&] { return assist_layers(pass.what); };
  if (!pass.shape.recorded) return layers();
  constexpr int32_t kMain = -1, kDraft = -2;  // not what a rank with rows records
  return ops_.replay(
      {.what = pass.what == ExpertPass::main ? kMain : kDraft, .rows = pass.shape.rows}, layers);
}

Status Decoder::assist_layers(ExpertPass what) {
  if (what == ExpertPass::draft)
    return weights_.mtp ? FeedForward::assist(ops_, weights_.mtp->layer.feed_forward) : Status();
  for (const LayerWeights& layer : weights_.layers)
    FATHOM_CHECKED(FeedForward::assist(ops_, layer.feed_forward));
  return {};
}

Status Decoder::run_layer(const LayerWeights& layer, size_t index, const Weight* next_norm) {
  const auto number = static_cast<int32_t>(index);
  FATHOM_CHECKED(attention_->run(layer, index, batch_, normed(), partial()));
  FATHOM_CHECKED(ops_.sum(partial()));
  ops_.tap(number, "attention", partial());
  ops_.add_norm(residual_.data(), partial(), layer.post_norm, normed());
  FATHOM_CHECKED(feed_forward_.run(ops_, layer.feed_forward, batch_, normed(), partial()));
  if (next_norm != nullptr) {
    FATHOM_CHECKED(ops_.sum(partial()));
    ops_.add_norm(residual_.data(), partial(), *next_norm, normed());
  } else {
    FATHOM_CHECKED(ops_.add_sum(partial(), residual_.data()));
  }
  ops_.tap(number, "feed_forward", partial());
  ops_.tap(number, "out", residual_.data());
  return {};
}

}  // namespace fathom
