#include "cli/eval_compare.h"

#include <algorithm>
#include <deque>
#include <map>
#include <string_view>

#include "cli/eval_text.h"

namespace fathom {
namespace {

constexpr size_t kAround = 30;  // characters shown before and behind a difference

std::string calls_text(const std::vector<EvalCall>& calls) {
  std::string text;
  for (const EvalCall& call : calls) text += call.name + call.arguments + " ";
  return text;
}

EvalDifference difference_of(const EvalQuestion& question, const EvalAnswer& now,
                             const EvalAnswer& earlier) {
  const auto part = [&](const char* name, const std::string& a, const std::string& b) {
    const size_t at = first_difference(a, b);
    return EvalDifference{.task = question.task,
                          .question = question.shown,
                          .part = name,
                          .character = at,
                          .now = excerpt(a, at, kAround),
                          .earlier = excerpt(b, at, kAround)};
  };
  if (now.reasoning != earlier.reasoning)
    return part("reasoning", now.reasoning, earlier.reasoning);
  if (now.content != earlier.content) return part("content", now.content, earlier.content);
  if (now.calls != earlier.calls)
    return part("tool_calls", calls_text(now.calls), calls_text(earlier.calls));
  return part("finish_reason", now.finish_reason, earlier.finish_reason);
}

}  // namespace

EvalComparison compare_answers(const std::vector<EvalOutcome>& now,
                               const std::vector<KeptAnswer>& earlier) {
  // A question that was asked several times has as many answers, taken in their order.
  std::map<uint64_t, std::deque<const KeptAnswer*>> waiting;
  EvalComparison result;
  for (const KeptAnswer& kept : earlier)
    if (kept.error.empty()) {
      waiting[kept.digest].push_back(&kept);
      ++result.only_earlier;
    }
  for (const EvalOutcome& outcome : now) {
    if (!outcome.error.empty()) continue;
    auto& kept = waiting[outcome.question->digest];
    if (kept.empty()) {
      ++result.only_now;
      continue;
    }
    const KeptAnswer& before = *kept.front();
    kept.pop_front();
    --result.only_earlier;
    ++result.pairs;
    result.right_now += outcome.right ? 1 : 0;
    result.right_earlier += before.right ? 1 : 0;
    result.lost += before.right && !outcome.right ? 1 : 0;
    result.gained += outcome.right && !before.right ? 1 : 0;
    if (same_text(outcome.answer, before.answer))
      ++result.same;
    else
      result.differences.push_back(difference_of(*outcome.question, outcome.answer, before.answer));
  }
  result.accuracy = paired_difference(result.lost, result.gained, result.pairs);
  return result;
}

}  // namespace fathom
