#include "cli/eval_report.h"

#include <algorithm>
#include <charconv>

#include "cli/eval_topics.h"

namespace fathom {
namespace {

EvalTally& tally_named(std::vector<EvalTally>& tallies, const std::string& name) {
  const auto found = std::ranges::find(tallies, name, &EvalTally::name);
  return found != tallies.end() ? *found : tallies.emplace_back(EvalTally{.name = name});
}

void add(EvalTally& tally, const EvalOutcome& outcome) {
  tally.right += outcome.right ? 1 : 0;
  tally.answered += outcome.error.empty() ? 1 : 0;
  tally.failed += outcome.error.empty() ? 0 : 1;
}

void add(EvalReport& report, const EvalOutcome& outcome) {
  add(report.total, outcome);
  add(tally_named(report.topics, outcome.question->topic), outcome);
  add(tally_named(report.tasks, outcome.question->task), outcome);
  if (!outcome.error.empty()) {
    ++report.errors[outcome.error];
    return;
  }
  ++report.finish_reasons[outcome.answer.finish_reason];
  report.usage.prompt_tokens += outcome.answer.usage.prompt_tokens;
  report.usage.cached_tokens += outcome.answer.usage.cached_tokens;
  report.usage.completion_tokens += outcome.answer.usage.completion_tokens;
  if (outcome.first_token_seconds) report.first_token.add(*outcome.first_token_seconds);
  if (!outcome.right) report.wrong.push_back(outcome);
}

// A topic before a task of the same name: recall is all that is to be remembered.
const EvalTally* meant_by(const EvalReport& report, const std::string& name) {
  if (name.empty()) return &report.total;
  for (const EvalTally& topic : report.topics)
    if (names_topic(name, topic.name)) return &topic;
  const auto task = std::ranges::find(report.tasks, name, &EvalTally::name);
  return task == report.tasks.end() ? nullptr : &*task;
}

}  // namespace

double EvalTally::accuracy() const {
  return answered == 0 ? 0 : static_cast<double>(right) / static_cast<double>(answered);
}

Result<EvalThreshold> parse_eval_threshold(const std::string& text) {
  const size_t equals = text.rfind('=');
  EvalThreshold threshold;
  if (equals != std::string::npos) threshold.name = text.substr(0, equals);
  const std::string number = equals == std::string::npos ? text : text.substr(equals + 1);
  const char* end = number.data() + number.size();
  const auto [at, error] = std::from_chars(number.data(), end, threshold.percent);
  const bool bad_name = equals != std::string::npos && threshold.name.empty();
  if (bad_name || number.empty() || at != end || error != std::errc() ||
      !(threshold.percent >= 0 && threshold.percent <= 100))
    return invalid("must look like 95 or recall=95, with 0 to 100 percent: " + text, "--at-least");
  return threshold;
}

EvalReport make_eval_report(const EvalSettings& settings, const EvalRun& run,
                            const std::vector<EvalQuestion>& questions) {
  EvalReport report;
  report.url = settings.url;
  report.model = run.model;
  report.settings = settings;
  report.chosen = static_cast<int64_t>(questions.size());
  report.interrupted = run.interrupted;
  report.given_up = run.given_up;
  report.seconds = run.seconds;
  report.retried = run.retried;
  report.total.name = "all";
  // All names appear, in order, whatever was asked before an interrupt.
  for (const auto topic : eval_topics())
    if (std::ranges::find(questions, topic, &EvalQuestion::topic) != questions.end())
      tally_named(report.topics, std::string(topic));
  for (const EvalQuestion& question : questions) {
    tally_named(report.topics, question.topic);
    tally_named(report.tasks, question.task);
  }
  for (const EvalOutcome& outcome : run.outcomes) add(report, outcome);
  return report;
}

Status judge_eval(EvalReport& report, const std::vector<EvalThreshold>& thresholds) {
  for (const EvalThreshold& threshold : thresholds) {
    const EvalTally* tally = meant_by(report, threshold.name);
    if (tally == nullptr)
      return invalid("no question has the task or topic " + threshold.name, "--at-least");
    // Without a division: 95 % of 20 are 19 on every machine.
    report.verdicts.push_back(
        {.threshold = threshold,
         .tally = *tally,
         .met =
             tally->answered > 0 && 100.0 * static_cast<double>(tally->right) >=
                                        threshold.percent * static_cast<double>(tally->answered)});
  }
  return {};
}

int eval_exit_code(const EvalReport& report) {
  if (report.interrupted) return 130;
  const bool missed =
      std::ranges::any_of(report.verdicts, [](const EvalVerdict& verdict) { return !verdict.met; });
  const bool differs = report.same_text_demanded && report.comparison &&
                       report.comparison->same < report.comparison->pairs;
  if (missed || differs) return 1;
  const bool nothing_compared = report.comparison && report.comparison->pairs == 0;
  const bool incomplete = report.total.answered < report.chosen;
  return incomplete || nothing_compared ? 2 : 0;
}

}  // namespace fathom
