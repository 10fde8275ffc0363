#include "cli/bench_serve.h"

#include <algorithm>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <iostream>
#include <memory>
#include <optional>

#include "cli/api_key.h"
#include "cli/bench_workload.h"
#include "cli/config_text.h"
#include "cli/event_stream.h"
#include "cli/question.h"
#include "net/http_client.h"

namespace fathom {
namespace {

namespace json = boost::json;

// What one event of the stream says.
struct Event {
  size_t tokens = 0;
  bool ids = false;  // tokens were counted by their ids; else a piece of text counts as one
  std::optional<int64_t> completion_tokens;
  std::string error;
};

// Other servers tell no ids: there a piece of text is one token, and usage corrects the sum.
void count_tokens(const json::value& choice, Event& event) {
  const json::object* fields = choice.if_object();
  if (fields == nullptr) return;
  if (const auto* ids = fields->if_contains("token_ids"); ids != nullptr && ids->is_array()) {
    event.tokens += ids->as_array().size();
    event.ids = true;
  } else if (const auto* text = fields->if_contains("text"); text != nullptr && text->is_string()) {
    event.tokens += text->as_string().empty() ? 0 : 1;
  }
}

Event read_event(std::string_view payload) {
  Event event;
  unsigned char space[4096];
  json::monotonic_resource memory(space);
  boost::system::error_code code;
  const json::value value = json::parse(payload, code, &memory);
  const json::object* root = value.if_object();
  if (code || root == nullptr) return {.completion_tokens = {}, .error = "an event is not JSON"};
  if (const auto* error = root->if_contains("error")) {
    const auto* message = error->is_object() ? error->as_object().if_contains("message") : nullptr;
    event.error =
        message != nullptr && message->is_string() ? message->as_string().c_str() : "error";
  }
  if (const auto* choices = root->if_contains("choices"); choices != nullptr && choices->is_array())
    for (const auto& choice : choices->as_array()) count_tokens(choice, event);
  if (const auto* usage = root->if_contains("usage"); usage != nullptr && usage->is_object())
    if (const auto* count = usage->as_object().if_contains("completion_tokens"))
      event.completion_tokens = count->to_number<int64_t>(code);
  return event;
}

// The message of an error body, shortened: a table wants few different lines.
std::string error_text(int status, const std::string& body) {
  const Event event = read_event(body);
  const std::string message = event.error.empty() ? body : event.error;
  return std::to_string(status) + " " + message.substr(0, 120);
}

// One request under way.
struct Flight {
  WorkItem item;
  Instant sent{0};
  Instant last{0};
  int64_t tokens = 0;
  bool ids = false;  // the server tells token ids
  int status = 0;
  bool finished = false;  // [DONE] came
  std::string error;
  std::string body;  // of an error answer
  EventStream events;
};

class LoadTest {
 public:
  LoadTest(const BenchServeOptions& options, Workload workload, const Clock& clock,
           const HttpAddress& address)
      : options_(options),
        workload_(std::move(workload)),
        clock_(clock),
        client_(make_http_client(address)) {}

  BenchReport run(const std::string& model) {
    report_.model = model;
    start_ = clock_.now();
    if (options_.rate > 0) {
      report_.load = "rate " + config_detail::scalar_text(options_.rate) + "/s";
      arrive_later();
    } else {
      report_.load = "concurrency " + std::to_string(options_.concurrency);
      for (int32_t i = 0; i < options_.concurrency && more(); ++i) send();
    }
    if (options_.progress) show();
    client_->run();
    if (options_.progress) std::cerr << "\r\x1b[K";
    report_.seconds = (clock_.now() - start_).to_seconds();
    return std::move(report_);
  }

 private:
  bool more() const {
    if (options_.requests > 0 && sent_ >= options_.requests) return false;
    return options_.seconds <= 0 || (clock_.now() - start_).to_seconds() < options_.seconds;
  }

  void arrive_later() {
    next_ = next_ + workload_.gap(arrivals_++);
    const Duration wait = (start_ + Duration{next_.ns}) - clock_.now();
    client_->after(std::max(wait, Duration{0}), [this] {
      if (!more()) return;
      send();
      arrive_later();
    });
  }

  void send() {
    auto flight = std::make_shared<Flight>();
    flight->item = workload_.item(static_cast<uint64_t>(sent_++), report_.model);
    report_.in_flight_max = std::max(report_.in_flight_max, ++in_flight_);
    HttpRequest request{.method = "POST",
                        .target = "/v1/completions",
                        .headers = request_headers(options_.key),
                        .body = std::move(flight->item.body)};
    flight->sent = clock_.now();
    client_->send(std::move(request),
                  {.head = [flight](const HttpHead& head) { flight->status = head.status; },
                   .body = [this, flight](std::string_view piece) { on_piece(*flight, piece); },
                   .done = [this, flight](const Status& end) { on_done(*flight, end); }});
  }

  void on_piece(Flight& flight, std::string_view piece) {
    if (flight.status != 200) {
      flight.body += piece;
      return;
    }
    const Instant now = clock_.now();
    flight.events.add(piece, [&](std::string_view payload) {
      if (payload == "[DONE]") {
        flight.finished = true;
        return;
      }
      on_event(flight, read_event(payload), now);
    });
  }

  void on_event(Flight& flight, const Event& event, Instant now) {
    if (!event.error.empty()) flight.error = event.error;
    if (event.tokens > 0) {
      if (flight.tokens == 0) {
        report_.first_token.add((now - flight.sent).to_seconds());
      } else {
        const double gap = (now - flight.last).to_seconds();
        report_.inter_token.add(gap / static_cast<double>(event.tokens), event.tokens);
      }
      flight.last = now;
      flight.tokens += static_cast<int64_t>(event.tokens);
      report_.output_tokens += static_cast<int64_t>(event.tokens);
    }
    flight.ids = flight.ids || event.ids;
    if (!event.completion_tokens || *event.completion_tokens == flight.tokens) return;
    if (flight.ids) {
      flight.error = "usage does not equal the streamed tokens";
    } else {
      report_.output_tokens += *event.completion_tokens - flight.tokens;
      flight.tokens = *event.completion_tokens;
    }
  }

  void on_done(Flight& flight, const Status& end) {
    --in_flight_;
    std::string error = flight.error;
    if (!end.ok()) {
      error = end.error().text();
    } else if (flight.status != 200) {
      error = error_text(flight.status, flight.body);
    } else if (error.empty() && !flight.finished) {
      error = "the stream ended without [DONE]";
    } else if (error.empty() && flight.tokens != flight.item.output_tokens) {
      error = "fewer tokens than asked for";
    }
    if (error.empty()) {
      ++report_.requests_ok;
      report_.prompt_tokens += flight.item.prompt_tokens;
      report_.end_to_end.add((clock_.now() - flight.sent).to_seconds());
    } else {
      ++report_.requests_failed;
      ++report_.errors[error];
    }
    if (options_.rate <= 0 && more()) send();
  }

  // The progress line; ends with the last request.
  void show() {
    const double seconds = (clock_.now() - start_).to_seconds();
    const auto ended = report_.requests_ok + report_.requests_failed;
    const double share = options_.requests > 0
                             ? static_cast<double>(ended) / static_cast<double>(options_.requests)
                             : std::min(1.0, seconds / options_.seconds);
    constexpr int kWidth = 30;
    const int full = static_cast<int>(share * kWidth);
    std::cerr << "\r\x1b[K[" << std::string(static_cast<size_t>(full), '#')
              << std::string(static_cast<size_t>(kWidth - full), '.') << "] " << ended << " done, "
              << in_flight_ << " running, " << report_.requests_failed << " failed, "
              << static_cast<int64_t>(static_cast<double>(report_.output_tokens) /
                                      std::max(seconds, 1e-3))
              << " tokens/s" << std::flush;
    if (in_flight_ > 0 || more()) client_->after(Duration::ms(200), [this] { show(); });
  }

  const BenchServeOptions& options_;
  Workload workload_;
  const Clock& clock_;
  std::unique_ptr<HttpClient> client_;
  BenchReport report_;
  Instant start_{0};
  Instant next_{0};  // of the next arrival, from start_
  uint64_t arrivals_ = 0;
  int64_t sent_ = 0;
  int64_t in_flight_ = 0;
};

Status check_options(const BenchServeOptions& options) {
  if (options.requests <= 0 && options.seconds <= 0)
    return invalid("one of --requests and --duration must be given", "--requests");
  if (options.rate < 0) return invalid("must not be negative", "--rate");
  if (options.concurrency < 1) return invalid("must be at least 1", "--concurrency");
  if (options.vocab < 5) return invalid("must be at least 5", "--vocab");
  return check_api_key(options.key);
}

}  // namespace

Result<BenchReport> bench_serve(const BenchServeOptions& options, const Clock& clock) {
  FATHOM_CHECKED(check_options(options));
  FATHOM_TRY(const HttpAddress address, parse_http_url(options.url));
  FATHOM_TRY(Workload workload, Workload::make(options));
  std::string model = options.model;
  if (model.empty()) {
    FATHOM_TRY(model, served_model(address, options.key));
  }
  return LoadTest(options, std::move(workload), clock, address).run(model);
}

}  // namespace fathom
