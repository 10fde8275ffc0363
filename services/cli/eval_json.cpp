// How does the next program read a report? As one JSON object; docs/quality.md describes its fields
// and changes with this file.
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "cli/eval_report.h"

namespace fathom {
namespace {

namespace json = boost::json;

json::array pair_of(const Interval& interval) { return {interval.low, interval.high}; }

json::object tally_of(const EvalTally& tally) {
  return {{"name", tally.name},
          {"right", tally.right},
          {"answered", tally.answered},
          {"failed", tally.failed},
          {"accuracy", tally.answered > 0 ? json::value(tally.accuracy()) : json::value(nullptr)},
          {"interval", pair_of(tally.interval())}};
}

json::array tallies_of(const std::vector<EvalTally>& tallies) {
  json::array list;
  for (const EvalTally& tally : tallies) list.push_back(tally_of(tally));
  return list;
}

json::object counts_of(const std::map<std::string, int64_t>& counts) {
  json::object object;
  for (const auto& [name, count] : counts) object[name] = count;
  return object;
}

json::object settings_of(const EvalSettings& settings) {
  return {{"concurrency", settings.concurrency},
          {"max_tokens", settings.max_tokens},
          {"temperature", settings.temperature},
          {"seed", settings.seed ? json::value(*settings.seed) : json::value(nullptr)},
          {"stream", settings.stream},
          {"retries", settings.retries}};
}

json::object wrong_of(const EvalOutcome& outcome) {
  json::array calls;
  for (const EvalCall& call : outcome.answer.calls)
    calls.push_back(json::object{{"name", call.name}, {"arguments", call.arguments}});
  return {{"task", outcome.question->task},
          {"question", outcome.question->shown},
          {"wanted", outcome.question->want},
          {"content", outcome.answer.content},
          {"tool_calls", std::move(calls)},
          {"reasoning", outcome.answer.reasoning},
          {"finish_reason", outcome.answer.finish_reason}};
}

json::array verdicts_of(const EvalReport& report) {
  json::array list;
  for (const EvalVerdict& verdict : report.verdicts)
    list.push_back(json::object{{"name", verdict.tally.name},
                                {"percent_at_least", verdict.threshold.percent},
                                {"right", verdict.tally.right},
                                {"answered", verdict.tally.answered},
                                {"met", verdict.met}});
  return list;
}

json::value comparison_of(const EvalReport& report, size_t show) {
  if (!report.comparison) return nullptr;
  const EvalComparison& c = *report.comparison;
  json::array differences;
  for (size_t i = 0; i < std::min(show, c.differences.size()); ++i) {
    const EvalDifference& d = c.differences[i];
    differences.push_back(json::object{{"task", d.task},
                                       {"question", d.question},
                                       {"part", d.part},
                                       {"character", d.character},
                                       {"here", d.now},
                                       {"there", d.earlier}});
  }
  return json::object{{"file", report.against},
                      {"pairs", c.pairs},
                      {"same_text", c.same},
                      {"same_text_demanded", report.same_text_demanded},
                      {"right_here", c.right_now},
                      {"right_there", c.right_earlier},
                      {"right_only_here", c.gained},
                      {"right_only_there", c.lost},
                      {"answered_only_here", c.only_now},
                      {"answered_only_there", c.only_earlier},
                      {"accuracy_difference", c.accuracy.difference},
                      {"accuracy_difference_interval", pair_of(c.accuracy.interval)},
                      {"mcnemar_p", c.accuracy.p},
                      {"differences", std::move(differences)}};
}

json::value latency_of(const Samples& samples) {
  if (samples.count() == 0) return nullptr;
  return json::object{{"count", samples.count()},
                      {"p50", samples.percentile(50)},
                      {"p90", samples.percentile(90)},
                      {"p99", samples.percentile(99)}};
}

}  // namespace

std::string eval_json(const EvalReport& report, size_t show) {
  json::array wrong;
  for (size_t i = 0; i < std::min(show, report.wrong.size()); ++i)
    wrong.push_back(wrong_of(report.wrong[i]));
  const double seconds = std::max(report.seconds, 1e-9);
  const json::object root = {
      {"url", report.url},
      {"model", report.model},
      {"questions", report.questions},
      {"settings", settings_of(report.settings)},
      {"chosen", report.chosen},
      {"interrupted", report.interrupted},
      {"given_up", report.given_up.empty() ? json::value(nullptr) : json::value(report.given_up)},
      {"seconds", report.seconds},
      {"retried", report.retried},
      {"total", tally_of(report.total)},
      {"topics", tallies_of(report.topics)},
      {"tasks", tallies_of(report.tasks)},
      {"errors", counts_of(report.errors)},
      {"finish_reasons", counts_of(report.finish_reasons)},
      {"tokens",
       {{"prompt", report.usage.prompt_tokens},
        {"cached", report.usage.cached_tokens},
        {"completion", report.usage.completion_tokens},
        {"completion_per_second", static_cast<double>(report.usage.completion_tokens) / seconds}}},
      {"first_token_seconds", latency_of(report.first_token)},
      {"wrong", std::move(wrong)},
      {"thresholds", verdicts_of(report)},
      {"against", comparison_of(report, show)},
      {"exit_code", eval_exit_code(report)}};
  return json::serialize(root) + "\n";
}

std::string eval_json(const Error& error) {
  return json::serialize(json::object{{"error",
                                       {{"code", code_name(error.code)},
                                        {"message", error.message},
                                        {"field", error.field}}},
                                      {"exit_code", 2}}) +
         "\n";
}

}  // namespace fathom
