#include "router/happenings.h"

#include <algorithm>

namespace fathom {
namespace {

std::string sequences(int64_t count) {
  return count == 1 ? "1 sequence" : std::to_string(count) + " sequences";
}

std::string text_of(HappeningKind kind, int64_t count, size_t pairs) {
  const std::string where = pairs > 1 ? " (" + std::to_string(pairs) + " workers or pairs)" : "";
  switch (kind) {
    case HappeningKind::moved:
      return "KV of " + sequences(count) + " arrived" + where;
    case HappeningKind::transfer_failed:
      return "KV of " + sequences(count) + " did not arrive; the prompt is computed again" + where;
    case HappeningKind::recovered:
      return sequences(count) + " lost with a worker and placed again" + where;
    case HappeningKind::preempted:
      return sequences(count) + " gave way for lack of KV blocks and wait again" + where;
    case HappeningKind::refused:
      return (count == 1 ? "1 request" : std::to_string(count) + " requests") +
             " refused: the queue is full";
    default:
      return {};
  }
}

void keep(std::deque<Happening>& list, size_t most, Happening&& happening) {
  list.push_back(std::move(happening));
  if (list.size() > most) list.pop_front();
}

}  // namespace

void Happenings::note(int64_t unix_us, Happening happening) {
  last_ = std::max(last_ + 1, unix_us);
  happening.number = last_;
  if (happening.kind == HappeningKind::moved) {
    keep(moves_, kMovesKept, std::move(happening));
  } else {
    keep(others_, kOthersKept, std::move(happening));
  }
}

void Happenings::close_second(int64_t unix_us) {
  for (const auto& [kind, pairs] : tallied_) {
    int64_t all = 0;
    for (const auto& [pair, count] : pairs) all += count;
    if (pairs.size() > kPairsTold) {
      note(unix_us, {.kind = kind, .text = text_of(kind, all, pairs.size()), .count = all});
      continue;
    }
    for (const auto& [pair, count] : pairs)
      note(unix_us, {.kind = kind,
                     .worker = pair.first,
                     .peer = pair.second,
                     .text = text_of(kind, count, 1),
                     .count = count});
  }
  tallied_.clear();
}

std::vector<Happening> Happenings::since(int64_t number) const {
  std::vector<Happening> out;
  const auto newer = [&](const Happening& happening) { return happening.number > number; };
  std::copy_if(moves_.begin(), moves_.end(), std::back_inserter(out), newer);
  std::copy_if(others_.begin(), others_.end(), std::back_inserter(out), newer);
  std::sort(out.begin(), out.end(),
            [](const Happening& a, const Happening& b) { return a.number < b.number; });
  return out;
}

}  // namespace fathom
