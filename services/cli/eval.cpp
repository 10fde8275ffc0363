#include "cli/eval.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>

#include "base/embedded.h"
#include "cli/api_key.h"
#include "cli/eval_progress.h"

namespace fathom {

std::span<const EmbeddedFile> embedded_questions();

namespace {

Result<std::string> read_file(const std::string& path, const std::string& option) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) return Error{Code::not_found, path + " can not be read", option};
  return text;
}

Result<std::vector<EvalQuestion>> read_questions(const EvalOptions& options) {
  if (options.questions_file.empty())
    return parse_eval_questions(embedded_questions().front().bytes, "the questions built in");
  FATHOM_TRY(const std::string text, read_file(options.questions_file, "--questions"));
  return parse_eval_questions(text, options.questions_file);
}

Status write_answers(const std::string& path, const std::string& text, std::ios::openmode mode) {
  std::ofstream file(path, mode | std::ios::binary);
  file << text << std::flush;
  if (!file) return Error{Code::permission_denied, path + " can not be written", "--answers"};
  return {};
}

// What was read before anything is asked.
struct Prepared {
  EvalSettings settings;
  std::vector<EvalQuestion> questions;
  std::vector<EvalThreshold> thresholds;
  std::vector<KeptAnswer> earlier;
};

Result<Prepared> prepare(const EvalOptions& options) {
  Prepared prepared{.settings = options.settings, .questions = {}, .thresholds = {}, .earlier = {}};
  if (!options.key_file.empty()) {
    FATHOM_TRY(prepared.settings.key, read_api_key(options.key_file));
  }
  if (options.per_task < 0) return invalid("must not be negative", "--per-task");
  if (options.show < 0) return invalid("must not be negative", "--show");
  FATHOM_TRY(auto questions, read_questions(options));
  FATHOM_TRY(prepared.questions,
             choose_eval_questions(std::move(questions), options.tasks, options.per_task));
  for (const auto& text : options.at_least) {
    FATHOM_TRY(prepared.thresholds.emplace_back(), parse_eval_threshold(text));
  }
  EvalReport empty = make_eval_report(prepared.settings, {}, prepared.questions);
  FATHOM_CHECKED(judge_eval(empty, prepared.thresholds));
  if (options.same_text && options.against_file.empty())
    return invalid("needs --against", "--same-text");
  if (!options.against_file.empty()) {
    FATHOM_TRY(const std::string text, read_file(options.against_file, "--against"));
    FATHOM_TRY(prepared.earlier, parse_kept_answers(text, options.against_file));
  }
  // Noticed now rather than after the last answer; what is there stays until then.
  if (!options.answers_file.empty())
    FATHOM_CHECKED(write_answers(options.answers_file, {}, std::ios::app));
  return prepared;
}

Result<EvalReport> evaluate(const EvalOptions& options, const EvalStreams& streams,
                            const Clock& clock, const std::function<bool()>& interrupted,
                            Prepared& prepared) {
  std::optional<EvalProgressLine> line(std::in_place, streams.error, streams.terminal);
  const EvalWatch watch{.progress = [&](const EvalProgress& at) { line->show(at); },
                        .interrupted = interrupted};
  FATHOM_TRY(const EvalRun run, ask_questions(prepared.settings, prepared.questions, watch, clock));
  line.reset();
  EvalReport report = make_eval_report(prepared.settings, run, prepared.questions);
  report.questions = options.questions_file.empty() ? "built in" : options.questions_file;
  FATHOM_CHECKED(judge_eval(report, prepared.thresholds));
  if (!options.against_file.empty()) {
    report.against = options.against_file;
    report.same_text_demanded = options.same_text;
    report.comparison = compare_answers(run.outcomes, prepared.earlier);
  }
  if (!options.answers_file.empty())
    FATHOM_CHECKED(
        write_answers(options.answers_file, kept_answers_text(run.outcomes), std::ios::trunc));
  return report;
}

}  // namespace

int run_eval(const EvalOptions& options, const EvalStreams& streams, const Clock& clock,
             const std::function<bool()>& interrupted) {
  auto prepared = prepare(options);
  auto report = prepared.ok() ? evaluate(options, streams, clock, interrupted, *prepared)
                              : Result<EvalReport>(prepared.error());
  if (!report.ok()) {
    streams.error << "fathom eval: " << report.error().text() << std::endl;
    if (options.json) streams.out << eval_json(report.error()) << std::flush;
    return 2;
  }
  const auto show = static_cast<size_t>(options.show);
  streams.out << (options.json ? eval_json(*report, show) : eval_table(*report, show))
              << std::flush;
  return eval_exit_code(*report);
}

}  // namespace fathom
