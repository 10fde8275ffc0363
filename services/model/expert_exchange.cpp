#include "model/expert_exchange.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int32_t kNoPass = -1;
constexpr int32_t kRowsMax = 1 << 24;  // whole numbers that a float holds

}  // namespace

ExpertMeeting::ExpertMeeting(std::unique_ptr<Comm> comm)
    : comm_(std::move(comm)), rank_(comm_->rank()), size_(comm_->size()) {
  words_.resize(2 * static_cast<size_t>(size_));
}

Error ExpertMeeting::left() {
  return {Code::unavailable, "this rank left the engines that share experts", "expert_parallel"};
}

Result<PassShape> ExpertMeeting::begin(int32_t rows, int32_t padded) {
  CHECK(rows > 0 && rows < kRowsMax && (padded == 0 || padded >= rows));
  FATHOM_TRY(const bool goes_on, settle(rows, recordable() ? padded : 0));
  CHECK(goes_on);
  return shape_;
}

Result<AssistedPass> ExpertMeeting::join() {
  const bool first = passes_ == 0;
  FATHOM_TRY(const bool goes_on, settle(kNoPass, 0));
  if (!goes_on) return AssistedPass{};
  return AssistedPass{first ? ExpertPass::main : ExpertPass::draft, shape_};
}

Result<bool> ExpertMeeting::settle(int32_t rows, int32_t padded) {
  if (!comm_) return left();
  const float mine[] = {static_cast<float>(rows), static_cast<float>(padded)};
  FATHOM_CHECKED(comm_->all_gather(mine, words_));
  rows_.clear();
  shape_ = {.rows = 0, .recorded = true};
  int32_t most_padded = 0;
  bool none = true;
  for (size_t r = 0; r < static_cast<size_t>(size_); ++r) {
    const auto has = static_cast<int32_t>(words_[2 * r]);
    const auto pads = static_cast<int32_t>(words_[2 * r + 1]);
    none &= has == kNoPass;
    rows_.push_back(std::max(has, 0));
    shape_.rows = std::max(shape_.rows, has);
    shape_.recorded &= has <= 0 || pads > 0;
    most_padded = std::max(most_padded, pads);
  }
  if (none) {
    passes_ = 0;
    return false;
  }
  ++passes_;
  if (shape_.recorded) {
    shape_.rows = most_padded;
    for (int32_t& each : rows_) each = each > 0 ? most_padded : 0;
  }
  FATHOM_CHECKED(prepare(rows_));
  return true;
}

Status ExpertMeeting::finish(Download& mark) {
  if (const auto done = mark.finish(); !done.ok()) return done.error();
  return {};
}

Status ExpertMeeting::meet() { return comm_ ? comm_->barrier() : Status(left()); }

}  // namespace fathom
