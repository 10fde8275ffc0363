#include "cli/eval_ask.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "cli/api_key.h"
#include "cli/eval_check.h"
#include "cli/event_stream.h"
#include "cli/question.h"
#include "net/http_client.h"

namespace fathom {
namespace {

constexpr Duration kLook = Duration::ms(100);  // between two looks at the user's wishes

// One question under way.
struct Flight {
  size_t index = 0;
  int32_t retries = 0;
  Instant first_sent{0};
  Instant sent{0};
  std::optional<Instant> first_token;
  HttpHead head;
  std::string body;
  EventStream events;
  EvalAnswerReader reader;
};

// True if every other question would be refused for the same reason.
bool refuses_all(int status) { return status == 401 || status == 403 || status == 404; }

constexpr int kTooMany = 429;
constexpr double kBackOffMost = 30;  // times the first wait

class Asking {
 public:
  Asking(const EvalSettings& settings, std::string model, std::span<const EvalQuestion> questions,
         const EvalWatch& watch, const Clock& clock, const HttpAddress& address)
      : settings_(settings),
        questions_(questions),
        watch_(watch),
        clock_(clock),
        client_(make_http_client(address)),
        outcomes_(questions.size()) {
    run_.model = std::move(model);
    progress_.questions = static_cast<int64_t>(questions.size());
  }

  EvalRun run() {
    start_ = clock_.now();
    for (int32_t i = 0; i < settings_.concurrency; ++i) send();
    look();
    client_->run();
    run_.seconds = (clock_.now() - start_).to_seconds();
    run_.retried = progress_.retried;
    show();
    for (auto& outcome : outcomes_)
      if (outcome) run_.outcomes.push_back(std::move(*outcome));
    return std::move(run_);
  }

 private:
  void send() {
    if (next_ == questions_.size() || stopped_) return;
    send(std::make_shared<Flight>(Flight{.index = next_++, .first_sent = clock_.now()}));
  }

  void send(const std::shared_ptr<Flight>& flight) {
    flight->sent = clock_.now();
    HttpRequest request{.method = "POST",
                        .target = "/v1/chat/completions",
                        .headers = request_headers(settings_.key),
                        .body = eval_request(settings_, run_.model, questions_[flight->index]),
                        .patience = Duration::seconds(settings_.patience_seconds)};
    client_->send(std::move(request),
                  {.head = [flight](const HttpHead& head) { flight->head = head; },
                   .body = [this, flight](std::string_view piece) { on_piece(*flight, piece); },
                   .done = [this, flight](const Status& end) { on_done(*flight, end); }});
  }

  void on_piece(Flight& flight, std::string_view piece) {
    if (flight.head.status != 200 || !settings_.stream) {
      flight.body += piece;
      return;
    }
    const Instant now = clock_.now();
    flight.events.add(piece, [&](std::string_view payload) {
      if (flight.reader.event(payload) && !flight.first_token) flight.first_token = now;
    });
  }

  void on_done(Flight& flight, const Status& end) {
    if (stopped_ || (end.ok() && asks_again(flight))) return;
    EvalOutcome outcome{.question = &questions_[flight.index], .error = {}, .answer = {}};
    outcome.seconds = (clock_.now() - flight.sent).to_seconds();
    if (!end.ok()) {
      outcome.error = end.error().message;
    } else if (flight.head.status != 200) {
      outcome.error = eval_error_text(flight.head.status, flight.body);
    } else {
      if (!settings_.stream) flight.reader.whole(flight.body);
      if (auto answer = flight.reader.take(); answer.ok())
        outcome.answer = std::move(answer).value();
      else
        outcome.error = answer.error().message;
    }
    if (outcome.error.empty()) {
      outcome.right = is_right(outcome.question->check, outcome.answer);
      if (flight.first_token)
        outcome.first_token_seconds = (*flight.first_token - flight.sent).to_seconds();
    }
    count(outcome);
    const bool lost = !end.ok() || flight.head.status == kTooMany;
    lost_in_a_row_ = lost ? lost_in_a_row_ + 1 : 0;
    if (refuses_all(flight.head.status) || lost_in_a_row_ > settings_.concurrency)
      run_.given_up = outcome.error;
    outcomes_[flight.index] = std::move(outcome);
    if (!run_.given_up.empty() || progress_.ended == progress_.questions) return stop();
    send();
  }

  // A refused question keeps its place among those under way, so that refusals slow the asking.
  bool asks_again(const Flight& flight) {
    if (flight.head.status != kTooMany || flight.retries == settings_.retries) return false;
    const double back_off =
        settings_.retry_seconds * std::min(std::exp2(flight.retries), kBackOffMost);
    const Duration wait =
        std::max(flight.head.retry_after.value_or(Duration{0}), Duration::seconds(back_off));
    const Duration waited = clock_.now() - flight.first_sent;
    if (waited + wait > Duration::seconds(settings_.patience_seconds)) return false;
    ++progress_.retried;
    auto next = std::make_shared<Flight>(Flight{
        .index = flight.index, .retries = flight.retries + 1, .first_sent = flight.first_sent});
    client_->after(wait, [this, next] { send(next); });
    return true;
  }

  void count(const EvalOutcome& outcome) {
    ++progress_.ended;
    progress_.right += outcome.right ? 1 : 0;
    progress_.failed += outcome.error.empty() ? 0 : 1;
    progress_.tokens += outcome.answer.usage.completion_tokens;
  }

  void look() {
    if (stopped_) return;
    if (watch_.interrupted && watch_.interrupted()) {
      run_.interrupted = true;
      return stop();
    }
    show();
    client_->after(kLook, [this] { look(); });
  }

  void show() {
    progress_.seconds = (clock_.now() - start_).to_seconds();
    if (watch_.progress) watch_.progress(progress_);
  }

  void stop() {
    stopped_ = true;
    client_->stop();
  }

  const EvalSettings& settings_;
  std::span<const EvalQuestion> questions_;
  const EvalWatch& watch_;
  const Clock& clock_;
  std::unique_ptr<HttpClient> client_;
  std::vector<std::optional<EvalOutcome>> outcomes_;
  EvalRun run_;
  EvalProgress progress_;
  Instant start_{0};
  size_t next_ = 0;
  int32_t lost_in_a_row_ = 0;
  bool stopped_ = false;
};

Status check_settings(const EvalSettings& settings) {
  if (settings.concurrency < 1 || settings.concurrency > 1024)
    return invalid("must be 1 to 1024", "--concurrency");
  if (settings.retries < 0 || settings.retries > 1000)
    return invalid("must be 0 to 1000", "--retries");
  if (settings.max_tokens < 1) return invalid("must be at least 1", "--max-tokens");
  if (!std::isfinite(settings.temperature) || settings.temperature < 0)
    return invalid("must not be negative", "--temperature");
  if (!std::isfinite(settings.patience_seconds) || settings.patience_seconds <= 0 ||
      settings.patience_seconds > 1e6)
    return invalid("must be above 0 and at most 1000000", "--patience");
  return check_api_key(settings.key);
}

}  // namespace

Result<EvalRun> ask_questions(const EvalSettings& settings, std::span<const EvalQuestion> questions,
                              const EvalWatch& watch, const Clock& clock) {
  FATHOM_CHECKED(check_settings(settings));
  if (questions.empty()) return invalid("there is nothing to ask", "--questions");
  FATHOM_TRY(HttpAddress address, parse_http_url(settings.url));
  // Clients of OpenAI are given a base URL with the version in it.
  if (address.prefix.ends_with("/v1")) address.prefix.resize(address.prefix.size() - 3);
  std::string model = settings.model;
  if (model.empty()) {
    FATHOM_TRY(model, served_model(address, settings.key));
  }
  EvalRun run = Asking(settings, std::move(model), questions, watch, clock, address).run();
  const bool answered = std::ranges::any_of(
      run.outcomes, [](const EvalOutcome& outcome) { return outcome.error.empty(); });
  if (!run.given_up.empty() && !answered)
    return Error{Code::unavailable, run.given_up, settings.url};
  return run;
}

}  // namespace fathom
