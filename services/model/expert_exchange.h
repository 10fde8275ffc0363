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

// What all ranks do alike in a pass.
struct PassShape {
  int32_t rows = 0;       // of the largest rank
  bool recorded = false;  // all go through Device::replay, each with `rows` rows or with none
};

// A pass in which a rank assists.
struct AssistedPass {
  ExpertPass what = ExpertPass::none;
  PassShape shape;
};

// One rank's end, used by that rank's thread. A group that failed stays broken: every call returns
// UNAVAILABLE at once, naming the rank where it is known.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;

  // Whether what is said in run() can be recorded: then agree() is for Device::replay.
  virtual bool recordable() const = 0;
  virtual Result<int32_t> agree(int32_t word) = 0;

  // This rank has a pass over `rows` rows, at least one. `padded`: to how many they may be padded
  // for a pass that is recorded; 0: it must be said anew. Returns when every rank has said what it
  // has. The pass is recorded where all ranks that have rows can, with the most padded rows of any.
  virtual Result<PassShape> begin(int32_t rows, int32_t padded) = 0;
  // It has no pass. What the others run, and this one must assist; none when nobody has any: the
  // round is over.
  virtual Result<AssistedPass> join() = 0;
  // In each layer of experts, on every rank: as Ops::experts, but p.experts are this rank's of all
  // and p.out gets the results of all chosen ones. p.rows is 0 where a rank assists.
  virtual Status run(const OpContext& context, const Ops& ops, const ExpertsParams& p) = 0;
  // Waits for what was said before `mark`; valid only if this says so: what is replayed hears of a
  // rank that is missing on the device alone. From any thread.
  virtual Status finish(Download& mark) = 0;

  // This rank gives up: the others' calls fail instead of waiting for it.
  virtual void leave() = 0;
};

// What both kinds share: the agreement about passes.
class ExpertMeeting : public ExpertExchange {
 public:
  explicit ExpertMeeting(std::unique_ptr<Comm> comm);
  int32_t rank() const override { return rank_; }
  int32_t size() const override { return size_; }
  bool recordable() const override { return false; }
  Result<int32_t> agree(int32_t word) override { return word; }
  Result<PassShape> begin(int32_t rows, int32_t padded) final;
  Result<AssistedPass> join() final;
  Status finish(Download& mark) override;
  void leave() override { comm_.reset(); }

 protected:
  // The rows of each rank, in a pass that begins; 0 where a rank assists.
  virtual Status prepare(std::span<const int32_t> rows) = 0;
  // Until every rank has come.
  Status meet();
  static Error left();

 private:
  // Everybody's word about the next pass: its rows, or kNoPass, and what they may be padded to.
  // False when nobody has one.
  Result<bool> settle(int32_t rows, int32_t padded);

  std::unique_ptr<Comm> comm_;  // null once this rank left
  int32_t rank_, size_;
  int32_t passes_ = 0;  // of this round
  PassShape shape_;     // of the last pass that was settled
  std::vector<float> words_;
  std::vector<int32_t> rows_;
};

}  // namespace fathom
