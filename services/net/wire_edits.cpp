#include "net/wire_drive.h"
#include "net/wire_sampling.h"

namespace fathom::wire {
namespace {

template <class Repeated>
void append(Repeated* to, const std::vector<TokenId>& from) {
  to->Add(from.begin(), from.end());
}

void fill(const Hello& from, v1::Edit& edit) {
  v1::Hello& to = *edit.mutable_hello();
  to.set_protocol(from.protocol);
  to.set_epoch(from.epoch);
  to.set_step_token_budget(from.step_token_budget);
}

void fill(const Ticket& from, v1::Ticket& to) {
  to.set_address(from.address);
  to.set_instance(from.instance);
  to.set_seq(from.seq.value);
  to.set_key(from.key);
}

void fill(const Prefill& from, v1::Edit& edit) {
  v1::Prefill& to = *edit.mutable_prefill();
  to.set_seq(from.seq.value);
  append(to.mutable_tokens(), from.tokens);
  to.set_prompt_tokens(from.prompt_tokens);
  to_wire(from.sampling, *to.mutable_sampling());
  to.set_blocks(from.blocks);
  to.set_lease(from.lease);
  to.set_handoff(from.handoff);
  to.set_key(from.key);
}

void fill(const Receive& from, v1::Edit& edit) {
  v1::Receive& to = *edit.mutable_receive();
  to.set_seq(from.seq.value);
  to.set_tokens(from.tokens);
  to.set_blocks(from.blocks);
  fill(from.ticket, *to.mutable_ticket());
}

void fill(const Decode& from, v1::Edit& edit) {
  v1::Decode& to = *edit.mutable_decode();
  to.set_seq(from.seq.value);
  append(to.mutable_tokens(), from.tokens);
  to.set_prompt_tokens(from.prompt_tokens);
  to_wire(from.sampling, *to.mutable_sampling());
  to.set_lease(from.lease);
}

void fill(const Renew& from, v1::Edit& edit) {
  v1::Renew& to = *edit.mutable_renew();
  to.set_seq(from.seq.value);
  to.set_lease(from.lease);
  to.set_blocks(from.blocks);
}

void fill(const Drop& from, v1::Edit& edit) { edit.mutable_drop()->set_seq(from.seq.value); }

int32_t prompt_of(int32_t prompt_tokens, const std::vector<TokenId>& tokens, Fields& fields) {
  const bool fits = prompt_tokens >= 0 && static_cast<size_t>(prompt_tokens) <= tokens.size();
  fields.require(fits, "prompt_tokens", "must be between 0 and the number of tokens");
  return prompt_tokens;
}

Hello read(const v1::Hello& from, Fields& fields) {
  return {from.protocol(), from.epoch(),
          fields.not_negative(from.step_token_budget(), "step_token_budget")};
}

Ticket read(const v1::Ticket& from, Fields& fields) {
  fields.require(from.address().size() <= 512, "ticket.address", "too long");
  return {from.address(), from.instance(), SeqId{from.seq()}, from.key()};
}

Prefill read(const v1::Prefill& from, Fields& fields) {
  Prefill to;
  to.seq = SeqId{from.seq()};
  to.tokens = fields.tokens(from.tokens(), "tokens");
  to.prompt_tokens = prompt_of(from.prompt_tokens(), to.tokens, fields);
  to.sampling = from_wire(from.sampling(), fields);
  to.blocks = fields.not_negative(from.blocks(), "blocks");
  to.lease = fields.not_negative(from.lease(), "lease");
  to.handoff = from.handoff();
  to.key = from.key();
  return to;
}

Receive read(const v1::Receive& from, Fields& fields) {
  Receive to;
  to.seq = SeqId{from.seq()};
  to.tokens = fields.not_negative(from.tokens(), "tokens");
  to.blocks = fields.not_negative(from.blocks(), "blocks");
  to.ticket = read(from.ticket(), fields);
  return to;
}

Decode read(const v1::Decode& from, Fields& fields) {
  Decode to;
  to.seq = SeqId{from.seq()};
  to.tokens = fields.tokens(from.tokens(), "tokens");
  to.prompt_tokens = prompt_of(from.prompt_tokens(), to.tokens, fields);
  to.sampling = from_wire(from.sampling(), fields);
  to.lease = fields.not_negative(from.lease(), "lease");
  return to;
}

Renew read(const v1::Renew& from, Fields& fields) {
  return {SeqId{from.seq()}, fields.not_negative(from.lease(), "lease"),
          fields.not_negative(from.blocks(), "blocks")};
}

}  // namespace

void to_wire(const Edits& from, v1::EditBatch& to) {
  to.mutable_edits()->Reserve(static_cast<int>(from.size()));
  for (const Edit& edit : from)
    std::visit([&](const auto& value) { fill(value, *to.add_edits()); }, edit);
}

Result<Edits> from_wire(const v1::EditBatch& from) {
  Edits to;
  to.reserve(static_cast<size_t>(from.edits_size()));
  for (const v1::Edit& edit : from.edits()) {
    Fields fields;
    const char* name = "";
    switch (edit.edit_case()) {
      case v1::Edit::kHello:
        name = "hello.", to.push_back(read(edit.hello(), fields));
        break;
      case v1::Edit::kPrefill:
        name = "prefill.", to.push_back(read(edit.prefill(), fields));
        break;
      case v1::Edit::kReceive:
        name = "receive.", to.push_back(read(edit.receive(), fields));
        break;
      case v1::Edit::kDecode:
        name = "decode.", to.push_back(read(edit.decode(), fields));
        break;
      case v1::Edit::kRenew:
        name = "renew.", to.push_back(read(edit.renew(), fields));
        break;
      case v1::Edit::kDrop:
        to.push_back(Drop{SeqId{edit.drop().seq()}});
        break;
      case v1::Edit::EDIT_NOT_SET:
        fields.require(false, "edit", "unknown kind of edit");
        break;
    }
    if (!fields.ok()) return fields.error(name);
  }
  return to;
}

void to_wire(const FetchRequest& from, v1::FetchRequest& to) {
  fill(from.ticket, *to.mutable_ticket());
  to.set_tokens(from.tokens);
}

Result<FetchRequest> from_wire(const v1::FetchRequest& from) {
  Fields fields;
  FetchRequest to{read(from.ticket(), fields), fields.positive(from.tokens(), "tokens")};
  if (!fields.ok()) return fields.error();
  return to;
}

}  // namespace fathom::wire
