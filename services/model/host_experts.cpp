#include "model/host_experts.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "comm/threads.h"

namespace fathom {
namespace {

struct Group {
  struct Seat {
    ExpertsParams params;  // of the layer that runs
  };
  int32_t hidden = 0, experts = 0, chosen = 0;
  std::vector<Seat> seats;
  // One row for each pair of the pass: those of the first rank's experts, then the second's. It
  // grows between two meetings, on the first rank's thread.
  std::vector<float> results;
};

class HostExperts final : public ExpertMeeting {
 public:
  HostExperts(std::shared_ptr<Group> group, std::unique_ptr<Comm> comm)
      : ExpertMeeting(std::move(comm)), group_(std::move(group)) {}

  Status run(const OpContext& context, const Ops& ops, const ExpertsParams& p) override {
    CHECK(p.chosen == group_->chosen && (p.rows == 0 || p.out_stride == group_->hidden));
    seat(rank()).params = p;
    FATHOM_CHECKED(meet());
    take_pairs(p);
    compute(context, ops, p);
    FATHOM_CHECKED(meet());
    if (p.rows == 0) return {};
    ops.add_slots(context, {.y = group_->results.data(),
                            .at = places_.data(),
                            .weights = p.weights,
                            .rows = p.rows,
                            .chosen = p.chosen,
                            .width = group_->hidden,
                            .out = p.out,
                            .out_stride = p.out_stride});
    context.scratch->reset();
    return {};
  }

 private:
  Group::Seat& seat(int32_t rank) { return group_->seats[static_cast<size_t>(rank)]; }

  // Nobody reads the results any more: every rank has left the pass before.
  Status prepare(std::span<const int32_t> rows) override {
    if (rank() != 0) return {};
    size_t pairs = 0;
    for (const int32_t n : rows) pairs += static_cast<size_t>(n);
    pairs *= static_cast<size_t>(group_->chosen);
    const size_t floats = pairs * static_cast<size_t>(group_->hidden);
    if (floats > group_->results.size()) group_->results.resize(floats);
    return {};
  }

  // The rank that has an expert; -1 for the choices of a row that pads a batch.
  int32_t owner(int32_t expert) const {
    return expert < 0 ? -1 : expert / (group_->experts / size());
  }

  // Every rank counts all pairs, so each knows where each result will lie.
  void take_pairs(const ExpertsParams& p) {
    next_.assign(static_cast<size_t>(size()) + 1, 0);
    for (const Group::Seat& s : group_->seats)
      for (int32_t i = 0; i < s.params.rows * s.params.chosen; ++i)
        if (const int32_t o = owner(s.params.ids[i]); o >= 0) ++next_[static_cast<size_t>(o) + 1];
    for (size_t r = 1; r < next_.size(); ++r) next_[r] += next_[r - 1];
    first_ = next_[static_cast<size_t>(rank())];
    const auto row_bytes =
        static_cast<size_t>(group_->hidden) * static_cast<size_t>(dtype_bytes(p.x_dtype));
    const auto mine = static_cast<size_t>(next_[static_cast<size_t>(rank()) + 1] - first_);
    if (x_.size() < mine * row_bytes) x_.resize(mine * row_bytes);
    ids_.clear();
    places_.resize(static_cast<size_t>(p.rows) * static_cast<size_t>(p.chosen));
    for (int32_t r = 0; r < size(); ++r) take_pairs_of(r, row_bytes);
    ones_.resize(std::max(ones_.size(), mine), 1.0f);
  }

  void take_pairs_of(int32_t from, size_t row_bytes) {
    const ExpertsParams& p = seat(from).params;
    for (int32_t i = 0; i < p.rows * p.chosen; ++i) {
      const int32_t o = owner(p.ids[i]);
      const int32_t place = o < 0 ? -1 : next_[static_cast<size_t>(o)]++;
      if (from == rank()) places_[static_cast<size_t>(i)] = place;
      if (o != rank()) continue;
      const auto at = static_cast<size_t>(i / p.chosen) * static_cast<size_t>(p.x_stride) *
                      static_cast<size_t>(dtype_bytes(p.x_dtype));
      std::memcpy(x_.data() + ids_.size() * row_bytes, static_cast<const char*>(p.x) + at,
                  row_bytes);
      ids_.push_back(p.ids[i]);
    }
  }

  // A pair is a row with one choice of weight 1, added to zeros: its result as it is.
  void compute(const OpContext& context, const Ops& ops, const ExpertsParams& p) {
    if (ids_.empty()) return;
    const auto width = static_cast<size_t>(group_->hidden);
    float* out = group_->results.data() + static_cast<size_t>(first_) * width;
    std::fill_n(out, ids_.size() * width, 0.0f);
    ops.experts(context, {.x = x_.data(),
                          .x_dtype = p.x_dtype,
                          .x_stride = group_->hidden,
                          .rows = static_cast<int32_t>(ids_.size()),
                          .experts = p.experts,
                          .first_expert = p.first_expert,
                          .ids = ids_.data(),
                          .weights = ones_.data(),
                          .chosen = 1,
                          .out = out,
                          .out_stride = group_->hidden});
    context.scratch->reset();
  }

  std::shared_ptr<Group> group_;
  // Of one layer; they keep their memory.
  std::vector<int32_t> next_;  // place of each rank's next result
  int32_t first_ = 0;          // place of this rank's first
  std::vector<char> x_;        // rows of this rank's pairs
  std::vector<int32_t> ids_;
  std::vector<float> ones_;
  std::vector<int32_t> places_;  // of the results of this rank's rows
};

}  // namespace

std::vector<std::unique_ptr<ExpertExchange>> make_host_experts(const ModelConfig& config,
                                                               int32_t ranks) {
  CHECK(ranks > 0 && config.experts % ranks == 0);
  auto group = std::make_shared<Group>(Group{.hidden = config.hidden,
                                             .experts = config.experts,
                                             .chosen = config.experts_chosen,
                                             .seats = {},
                                             .results = {}});
  group->seats.resize(static_cast<size_t>(ranks));
  std::vector<std::unique_ptr<ExpertExchange>> out;
  for (auto& comm : make_thread_group(ranks))
    out.push_back(std::make_unique<HostExperts>(group, std::move(comm)));
  return out;
}

}  // namespace fathom
