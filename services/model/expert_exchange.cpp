#include "model/expert_exchange.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int32_t kNoPass = -1;
constexpr int32_t kRowsMax = 1 << 24;  // whole numbers that a float holds

Error left() {
  return {Code::unavailable, "this rank left the engines that share experts", "expert_parallel"};
}

}  // namespace

ExpertMeeting::ExpertMeeting(std::unique_ptr<Comm> comm)
    : comm_(std::move(comm)), rank_(comm_->rank()), size_(comm_->size()) {
  words_.resize(static_cast<size_t>(size_));
}

Status ExpertMeeting::begin(int32_t rows) {
  CHECK(rows > 0 && rows < kRowsMax);
  FATHOM_TRY(const bool goes_on, agree(rows));
  CHECK(goes_on);
  return {};
}

Result<ExpertPass> ExpertMeeting::join() {
  const bool first = passes_ == 0;
  FATHOM_TRY(const bool goes_on, agree(kNoPass));
  if (!goes_on) return ExpertPass::none;
  return first ? ExpertPass::main : ExpertPass::draft;
}

Result<bool> ExpertMeeting::agree(int32_t word) {
  if (!comm_) return left();
  const auto mine = static_cast<float>(word);
  FATHOM_CHECKED(comm_->all_gather(std::span(&mine, 1), words_));
  if (std::ranges::all_of(words_, [](float w) { return w == kNoPass; })) {
    passes_ = 0;
    return false;
  }
  ++passes_;
  rows_.clear();
  for (const float w : words_) rows_.push_back(std::max(static_cast<int32_t>(w), 0));
  FATHOM_CHECKED(prepare(rows_));
  return true;
}

Status ExpertMeeting::meet() { return comm_ ? comm_->barrier() : Status(left()); }

}  // namespace fathom
