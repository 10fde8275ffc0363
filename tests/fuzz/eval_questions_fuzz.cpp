// Can a file of questions, or of kept answers, break the program that reads it? The input is
// either. What is refused names a line; what is read can be asked, judged, kept and read again.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "cli/eval_answers.h"
#include "cli/eval_check.h"
#include "cli/eval_compare.h"
#include "cli/eval_report.h"

namespace {

using namespace fathom;

void read_answers(std::string_view text) {
  const auto kept = parse_kept_answers(text, "input");
  if (!kept.ok())
    CHECK(kept.error().message.starts_with("line ") || kept.error().field == "--against",
          "refused without a line");
}

void read_questions(std::string_view text) {
  const auto parsed = parse_eval_questions(text, "input");
  if (!parsed.ok()) {
    CHECK(parsed.error().message.starts_with("line ") || parsed.error().field == "--questions",
          "refused without a line");
    return;
  }
  const std::vector<EvalQuestion> questions = choose_eval_questions(*parsed, {}, 3).value();
  EvalRun run;
  for (const EvalQuestion& question : questions) {
    CHECK(!eval_request({}, "model", question).empty(), "no request");
    EvalOutcome outcome{
        .question = &question, .error = {}, .answer = {}, .first_token_seconds = {}};
    outcome.answer = {.reasoning = question.shown,
                      .content = question.want,
                      .calls = {},
                      .finish_reason = "stop",
                      .usage = {}};
    if (question.check.kind == EvalCheckKind::call)
      outcome.answer.calls.push_back({.name = question.check.text, .arguments = question.want});
    outcome.right = is_right(question.check, outcome.answer);
    run.outcomes.push_back(outcome);
  }
  const auto kept = parse_kept_answers(kept_answers_text(run.outcomes), "kept");
  CHECK(kept.ok(), "what was kept can not be read");
  EvalReport report = make_eval_report({}, run, questions);
  report.comparison = compare_answers(run.outcomes, *kept);
  CHECK(report.comparison->same == static_cast<int64_t>(questions.size()),
        "an answer differs from itself");
  CHECK(!eval_table(report, 3).empty() && !eval_json(report, 3).empty(), "nothing is shown");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_questions(text);
  read_answers(text);
  return 0;
}
