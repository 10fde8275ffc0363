// How do engines that divide a model's experts compute them together? Attention and everything else
// is each one's own: its rows, its weights, its KV. In a layer of experts they meet: every rank
// lays out the rows it routed, each computes its own experts for the rows of all, and every row's
// results come back to its owner. All ranks must therefore be in the same layer of the same pass,
// so passes are begun together; a rank without rows assists. host_experts.h and device_experts.h
// are the two kinds.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/comm.h"
#include "kernels/ops.h"

namespace fathom {

// What the others run next. A round is one pass over the model, then any number that draft.
enum class ExpertPass : uint8_t { none, main, draft };

// One rank's end, used by that rank's thread. A group that failed stays broken: every call returns
// UNAVAILABLE at once, naming the rank where it is known.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;

  // This rank has a pass over `rows` rows, at least one. Returns when every rank has said what it
  // has, so all know the sizes of the pass.
  virtual Status begin(int32_t rows) = 0;
  // It has no pass. What the others run, and this one must assist; none when nobody has any: the
  // round is over.
  virtual Result<ExpertPass> join() = 0;
  // In each layer of experts, on every rank: as Ops::experts, but p.experts are this rank's of all
  // and p.out gets the results of all chosen ones. p.rows is 0 where a rank assists.
  virtual Status run(const OpContext& context, const Ops& ops, const ExpertsParams& p) = 0;
  // This rank gives up: the others' calls fail instead of waiting for it.
  virtual void leave() = 0;
};

// What both kinds share: the agreement about passes.
class ExpertMeeting : public ExpertExchange {
 public:
  explicit ExpertMeeting(std::unique_ptr<Comm> comm);
  int32_t rank() const override { return rank_; }
  int32_t size() const override { return size_; }
  Status begin(int32_t rows) final;
  Result<ExpertPass> join() final;
  void leave() override { comm_.reset(); }

 protected:
  // The rows of each rank, in a pass that begins; 0 where a rank assists.
  virtual Status prepare(std::span<const int32_t> rows) = 0;
  // Until every rank has come.
  Status meet();

 private:
  // Everybody's word about the next pass: its rows, or kNoPass. False when nobody has one.
  Result<bool> agree(int32_t word);

  std::unique_ptr<Comm> comm_;  // null once this rank left
  int32_t rank_, size_;
  int32_t passes_ = 0;  // of this round
  std::vector<float> words_;
  std::vector<int32_t> rows_;
};

}  // namespace fathom
