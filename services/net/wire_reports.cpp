#include "net/wire_drive.h"
#include "net/wire_sampling.h"

namespace fathom::wire {
namespace {

void fill(const KvLayout& from, v1::KvLayout& to) {
  to.set_kind(from.kind);
  to.set_dtype(from.dtype);
  to.set_layers(from.layers);
  to.set_width(from.width);
  to.set_block_tokens(from.block_tokens);
  to.set_block_bytes(from.block_bytes);
}

void fill(const Welcome& from, v1::Welcome& to) {
  to.set_protocol(from.protocol);
  to.set_instance(from.instance);
  to.set_role(static_cast<v1::Role>(from.role));
  to.set_model(from.model);
  to.set_model_digest(from.model_digest);
  fill(from.kv, *to.mutable_kv());
  to.set_blocks(from.blocks);
  to.set_rows_max(from.rows_max);
  to.set_context_max(from.context_max);
  to.set_vocab(from.vocab);
  to.set_tensor_parallel(from.tensor_parallel);
  to.set_fetch_address(from.fetch_address);
}

void fill(const Row& from, v1::Row& to) {
  to.set_seq(from.seq.value);
  to.set_first(from.first);
  to.mutable_tokens()->Add(from.tokens.begin(), from.tokens.end());
  logprobs_to_wire(from.logprobs, *to.mutable_logprobs());
  logprobs_to_wire(from.prompt_logprobs, *to.mutable_prompt_logprobs());
  to.set_computed(from.computed);
  to.set_cached(from.cached);
  to.set_finish(to_wire(from.finish));
}

KvLayout read(const v1::KvLayout& from, Fields& fields) {
  KvLayout to;
  to.kind = from.kind();
  to.dtype = from.dtype();
  to.layers = fields.not_negative(from.layers(), "kv.layers");
  to.width = fields.not_negative(from.width(), "kv.width");
  to.block_tokens = fields.positive(from.block_tokens(), "kv.block_tokens");
  to.block_bytes = fields.not_negative(from.block_bytes(), "kv.block_bytes");
  return to;
}

Welcome read(const v1::Welcome& from, Fields& fields) {
  Welcome to;
  to.protocol = from.protocol();
  to.instance = from.instance();
  to.role = static_cast<Role>(
      fields.within(static_cast<int>(from.role()), 0, static_cast<int>(Role::both), "role"));
  to.model = from.model();
  to.model_digest = from.model_digest();
  to.kv = read(from.kv(), fields);
  to.blocks = fields.not_negative(from.blocks(), "blocks");
  to.rows_max = fields.not_negative(from.rows_max(), "rows_max");
  to.context_max = fields.not_negative(from.context_max(), "context_max");
  to.vocab = fields.not_negative(from.vocab(), "vocab");
  to.tensor_parallel = fields.positive(from.tensor_parallel(), "tensor_parallel");
  to.fetch_address = from.fetch_address();
  return to;
}

Row read(const v1::Row& from, Fields& fields) {
  Row to;
  to.seq = SeqId{from.seq()};
  to.first = fields.not_negative(from.first(), "first");
  to.tokens = fields.tokens(from.tokens(), "tokens");
  const bool counted = from.logprobs_size() == 0 || from.logprobs_size() == from.tokens_size();
  fields.require(counted, "logprobs", "must be none or one per token");
  to.logprobs = logprobs_from_wire(from.logprobs(), fields);
  to.prompt_logprobs = logprobs_from_wire(from.prompt_logprobs(), fields);
  to.computed = fields.not_negative(from.computed(), "computed");
  to.cached = fields.not_negative(from.cached(), "cached");
  to.finish = from_wire(from.finish(), fields);
  return to;
}

}  // namespace

void to_wire(const Report& from, v1::Report& to) {
  if (from.welcome) fill(*from.welcome, *to.mutable_welcome());
  to.set_step(from.step);
  to.set_step_us(from.step_us);
  to.set_prefill_tokens(from.prefill_tokens);
  to.set_decode_rows(from.decode_rows);
  to.mutable_rows()->Reserve(static_cast<int>(from.rows.size()));
  for (const Row& row : from.rows) fill(row, *to.add_rows());
  for (const SeqId seq : from.resident) to.add_resident(seq.value);
  for (const SeqFailure& failure : from.failed) {
    v1::SeqFailure& entry = *to.add_failed();
    entry.set_seq(failure.seq.value);
    to_wire(failure.error, *entry.mutable_error());
  }
  to.set_free_blocks(from.free_blocks);
  to.set_draining(from.draining);
  to.set_drafted(from.drafted);
  to.set_accepted(from.accepted);
}

Result<Report> from_wire(const v1::Report& from) {
  Report to;
  Fields welcome;
  if (from.has_welcome()) to.welcome = read(from.welcome(), welcome);
  if (!welcome.ok()) return welcome.error("welcome.");
  to.step = from.step();
  to.step_us = from.step_us();
  Fields fields;
  to.prefill_tokens = fields.not_negative(from.prefill_tokens(), "prefill_tokens");
  to.decode_rows = fields.not_negative(from.decode_rows(), "decode_rows");
  to.free_blocks = fields.not_negative(from.free_blocks(), "free_blocks");
  to.drafted = fields.not_negative(from.drafted(), "drafted");
  to.accepted = fields.within(from.accepted(), 0, from.drafted(), "accepted");
  if (!fields.ok()) return fields.error();
  to.draining = from.draining();
  Fields rows;
  to.rows.reserve(static_cast<size_t>(from.rows_size()));
  for (const v1::Row& row : from.rows()) to.rows.push_back(read(row, rows));
  if (!rows.ok()) return rows.error("rows.");
  to.resident.reserve(static_cast<size_t>(from.resident_size()));
  for (const uint64_t seq : from.resident()) to.resident.push_back(SeqId{seq});
  Fields failed;
  for (const v1::SeqFailure& entry : from.failed())
    to.failed.push_back({SeqId{entry.seq()}, from_wire(entry.error(), failed)});
  if (!failed.ok()) return failed.error("failed.");
  return to;
}

}  // namespace fathom::wire
