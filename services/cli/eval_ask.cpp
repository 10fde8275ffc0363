#include "cli/eval_ask.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cmath>
#include <memory>

#include "cli/eval_check.h"
#include "cli/event_stream.h"
#include "net/http_client.h"

namespace fathom {
namespace {

namespace json = boost::json;

constexpr Duration kLook = Duration::ms(100);  // between two looks at the user's wishes

std::vector<std::pair<std::string, std::string>> headers_of(const EvalSettings& settings) {
  std::vector<std::pair<std::string, std::string>> headers = {{"content-type", "application/json"}};
  if (!settings.key.empty()) headers.emplace_back("authorization", "Bearer " + settings.key);
  return headers;
}

Result<std::string> first_model(const HttpAddress& address, const EvalSettings& settings) {
  const auto answer = http_call(address, {.target = "/v1/models",
                                          .headers = headers_of(settings),
                                          .body = {},
                                          .patience = Duration::seconds(10)});
  if (!answer.ok())
    return Error{answer.error().code, "no server answers: " + answer.error().message, settings.url};
  if (answer->status != 200)
    return Error{Code::unavailable, eval_error_text(answer->status, answer->body), settings.url};
  boost::system::error_code code;
  const json::value root = json::parse(answer->body, code);
  const auto* id = code ? nullptr : root.find_pointer("/data/0/id", code);
  if (id == nullptr || !id->is_string())
    return Error{Code::unavailable, "names no model", settings.url};
  return std::string(id->get_string());
}

// One question under way.
struct Flight {
  size_t index = 0;
  Instant sent{0};
  std::optional<Instant> first_token;
  int status = 0;
  std::string body;
  EventStream events;
  EvalAnswerReader reader;
};

// True if every other question would be refused for the same reason.
bool refuses_all(int status) { return status == 401 || status == 403 || status == 404; }

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
    show();
    for (auto& outcome : outcomes_)
      if (outcome) run_.outcomes.push_back(std::move(*outcome));
    return std::move(run_);
  }

 private:
  void send() {
    if (next_ == questions_.size() || stopped_) return;
    auto flight = std::make_shared<Flight>();
    flight->index = next_++;
    flight->sent = clock_.now();
    HttpRequest request{.method = "POST",
                        .target = "/v1/chat/completions",
                        .headers = headers_of(settings_),
                        .body = eval_request(settings_, run_.model, questions_[flight->index]),
                        .patience = Duration::seconds(settings_.patience_seconds)};
    client_->send(std::move(request),
                  {.head = [flight](int status) { flight->status = status; },
                   .body = [this, flight](std::string_view piece) { on_piece(*flight, piece); },
                   .done = [this, flight](const Status& end) { on_done(*flight, end); }});
  }

  void on_piece(Flight& flight, std::string_view piece) {
    if (flight.status != 200 || !settings_.stream) {
      flight.body += piece;
      return;
    }
    const Instant now = clock_.now();
    flight.events.add(piece, [&](std::string_view payload) {
      if (flight.reader.event(payload) && !flight.first_token) flight.first_token = now;
    });
  }

  void on_done(Flight& flight, const Status& end) {
    if (stopped_) return;
    EvalOutcome outcome{.question = &questions_[flight.index], .error = {}, .answer = {}};
    outcome.seconds = (clock_.now() - flight.sent).to_seconds();
    if (!end.ok()) {
      outcome.error = end.error().message;
    } else if (flight.status != 200) {
      outcome.error = eval_error_text(flight.status, flight.body);
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
    lost_in_a_row_ = end.ok() ? 0 : lost_in_a_row_ + 1;
    if (refuses_all(flight.status) || lost_in_a_row_ > settings_.concurrency)
      run_.given_up = outcome.error;
    outcomes_[flight.index] = std::move(outcome);
    if (!run_.given_up.empty() || progress_.ended == progress_.questions) return stop();
    send();
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
  if (settings.max_tokens < 1) return invalid("must be at least 1", "--max-tokens");
  if (!std::isfinite(settings.temperature) || settings.temperature < 0)
    return invalid("must not be negative", "--temperature");
  if (!std::isfinite(settings.patience_seconds) || settings.patience_seconds <= 0 ||
      settings.patience_seconds > 1e6)
    return invalid("must be above 0 and at most 1000000", "--patience");
  // A line end in it would begin another header.
  if (std::ranges::any_of(settings.key, [](char c) { return c <= ' ' || c > '~'; }))
    return invalid("must be printable ASCII without spaces", "--key");
  return {};
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
    FATHOM_TRY(model, first_model(address, settings));
  }
  EvalRun run = Asking(settings, std::move(model), questions, watch, clock, address).run();
  const bool answered = std::ranges::any_of(
      run.outcomes, [](const EvalOutcome& outcome) { return outcome.error.empty(); });
  if (!run.given_up.empty() && !answered)
    return Error{Code::unavailable, run.given_up, settings.url};
  return run;
}

}  // namespace fathom
