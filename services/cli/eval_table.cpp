// How does a report look to a person? A table of tasks under their topics, then what failed, what
// it cost, what was demanded, and the first wrong answers.
#include <algorithm>
#include <array>
#include <cstdio>

#include "cli/eval_report.h"
#include "cli/eval_text.h"

namespace fathom {
namespace {

constexpr size_t kTextMax = 200;  // characters of a question or an answer that are shown

template <class... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 512> line{};
  std::snprintf(line.data(), line.size(), format, values...);
  return line.data();
}

std::string shown_name(const std::string& name) { return shortened(name, 24); }

std::string row(const std::string& name, const EvalTally& tally) {
  const Interval interval = tally.interval();
  std::string line =
      formatted("%-30s %6lld %8lld", name.c_str(), static_cast<long long>(tally.right),
                static_cast<long long>(tally.answered));
  if (tally.answered > 0) {
    line += formatted("   %8s   %5.1f to %5.1f %%", percent_text(tally.accuracy()).c_str(),
                      interval.low * 100, interval.high * 100);
  } else {
    line += "          -";
  }
  if (tally.failed > 0) line += "   " + std::to_string(tally.failed) + " without an answer";
  return line + "\n";
}

// A task is listed under the topic of its wrong and right answers alike: the tallies know names
// only, so topics come first as a table of their own.
std::string tables(const EvalReport& report) {
  const std::string head =
      formatted("%-30s %6s %8s   %8s   %s\n", "", "right", "answered", "accuracy", "95 % interval");
  std::string text = head;
  for (const auto& task : report.tasks) text += row(shown_name(task.name), task);
  text += "\n" + head;
  for (const auto& topic : report.topics) text += row(shown_name(topic.name), topic);
  return text + row("all", report.total);
}

std::string cost(const EvalReport& report) {
  const double seconds = std::max(report.seconds, 1e-9);
  std::string text = formatted(
      "\n%lld tokens in %.1f s, %.0f tokens/s; prompts %lld tokens, %lld of them cached\n",
      static_cast<long long>(report.usage.completion_tokens), report.seconds,
      static_cast<double>(report.usage.completion_tokens) / seconds,
      static_cast<long long>(report.usage.prompt_tokens),
      static_cast<long long>(report.usage.cached_tokens));
  if (report.first_token.count() > 0)
    text +=
        formatted("time to first token: median %.0f ms, 99 %% below %.0f ms\n",
                  report.first_token.percentile(50) * 1e3, report.first_token.percentile(99) * 1e3);
  for (const auto& [reason, count] : report.finish_reasons)
    if (reason != "stop" && reason != "tool_calls")
      text += std::to_string(count) + " ended with finish_reason " + shortened(reason, 40) + "\n";
  return text;
}

std::string failures(const EvalReport& report) {
  std::string text;
  if (report.retried > 0)
    text += "asked again after 429, " + std::to_string(report.retried) + " times\n";
  for (const auto& [message, count] : report.errors)
    text += "no answer, " + std::to_string(count) + " times: " + message + "\n";
  if (!report.given_up.empty()) text += "the rest was not asked: " + report.given_up + "\n";
  if (report.interrupted)
    text += "interrupted: " + std::to_string(report.total.answered + report.total.failed) + " of " +
            std::to_string(report.chosen) + " questions were asked\n";
  return text.empty() ? text : "\n" + text;
}

std::string said(const EvalAnswer& answer) {
  std::string text = answer.content;
  for (const auto& call : answer.calls) text += " -> " + call.name + call.arguments;
  if (text.empty()) text = "(nothing visible, finish_reason " + answer.finish_reason + ")";
  return text;
}

std::string wrong_answers(const EvalReport& report, size_t show) {
  std::string text;
  for (size_t i = 0; i < std::min(show, report.wrong.size()); ++i) {
    const EvalOutcome& outcome = report.wrong[i];
    text += "\nwrong, " + shown_name(outcome.question->task) + "\n  asked   " +
            shortened(outcome.question->shown, kTextMax) + "\n  said    " +
            shortened(said(outcome.answer), kTextMax) + "\n  wanted  " +
            shortened(outcome.question->want, kTextMax) + "\n";
  }
  if (show > 0 && report.wrong.size() > show)
    text += "\n(" + std::to_string(report.wrong.size() - show) + " more wrong answers; --show)\n";
  return text;
}

std::string comparison(const EvalReport& report, size_t show) {
  if (!report.comparison) return {};
  const EvalComparison& c = *report.comparison;
  std::string text = "\nagainst " + report.against + ": " + std::to_string(c.same) + " of " +
                     std::to_string(c.pairs) + " texts are the same; right " +
                     std::to_string(c.right_now) + ", there " + std::to_string(c.right_earlier) +
                     formatted(" (%+.1f points, 95 %% interval %+.1f to %+.1f, McNemar p %.2f)\n",
                               c.accuracy.difference * 100, c.accuracy.interval.low * 100,
                               c.accuracy.interval.high * 100, c.accuracy.p);
  if (c.only_now + c.only_earlier > 0)
    text += "not compared: " + std::to_string(c.only_now) + " only answered here, " +
            std::to_string(c.only_earlier) + " only there\n";
  for (size_t i = 0; i < std::min(show, c.differences.size()); ++i) {
    const EvalDifference& d = c.differences[i];
    text += "differs, " + shown_name(d.task) + ", in " + d.part + " at character " +
            std::to_string(d.character) + "\n  asked   " + shortened(d.question, kTextMax) +
            "\n  here    " + d.now + "\n  there   " + d.earlier + "\n";
  }
  return text;
}

std::string verdicts(const EvalReport& report) {
  std::string text;
  for (const EvalVerdict& verdict : report.verdicts)
    text += formatted(
        "%s: %s, at least %g %%: %s\n", shown_name(verdict.tally.name).c_str(),
        verdict.tally.answered > 0 ? percent_text(verdict.tally.accuracy()).c_str() : "no answer",
        verdict.threshold.percent, verdict.met ? "met" : "MISSED");
  if (report.same_text_demanded && report.comparison)
    text += std::string("the same text: ") +
            (report.comparison->same == report.comparison->pairs ? "met" : "MISSED") + "\n";
  return text.empty() ? text : "\n" + text;
}

}  // namespace

std::string eval_table(const EvalReport& report, size_t show) {
  return "model " + report.model + " at " + report.url + ", questions " + report.questions +
         "\n\n" + tables(report) + cost(report) + failures(report) + wrong_answers(report, show) +
         comparison(report, show) + verdicts(report);
}

}  // namespace fathom
