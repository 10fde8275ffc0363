// What happens between an accepted request and the end of its answer? One Generation submits every
// choice, turns tokens into visible text, watches the clock and tells the Answer; whoever gives up
// first (client, stop string, deadline, router) ends it once, and what still runs is cancelled.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "gateway/admission.h"
#include "gateway/answer.h"
#include "gateway/dispatch.h"
#include "gateway/metrics.h"
#include "gateway/request.h"
#include "gateway/served_model.h"
#include "net/http_threads.h"

namespace fathom {

struct GenerationTimes {
  Duration commit = Duration::seconds(15);      // until signs of life begin
  Duration keep_alive = Duration::seconds(10);  // between them
  Duration start_max = Duration::seconds(600);
  Duration request_max = Duration::seconds(3600);
  double retry_after_seconds = 1;
};

struct GenerationParts {
  Dispatch& dispatch;
  HttpThreads& threads;
  const Clock& clock;
  GatewayMetrics& metrics;
  const ServedModel& model;
  const KeyUse* use = nullptr;  // of the key that asked; null without keys
};

class Generation final : public std::enable_shared_from_this<Generation> {
 public:
  using MakeAnswer = std::function<std::unique_ptr<Answer>(const Generate& request)>;
  // Called on loop `thread`, as everything below. `ended` runs once, with the status that was
  // answered.
  static std::shared_ptr<Generation> start(const GenerationParts& parts,
                                           const GenerationTimes& times, int thread,
                                           Generate request, std::string trace, Instant received,
                                           const MakeAnswer& make_answer,
                                           std::function<void(int)> ended);
  void client_left();  // harmless after the end
  ~Generation();

 private:
  class Choice;
  Generation(const GenerationParts& parts, const GenerationTimes& times, int thread,
             Generate request, std::string trace, Instant received, std::function<void(int)> ended);
  void submit_all();
  void on_tokens(Choice& choice, Tokens tokens, Instant arrived);
  void on_finished(Choice& choice, const Finished& finished);
  bool take_tokens(Choice& choice, const Tokens& tokens);
  void take_scores(Choice& choice, std::vector<TokenLogprob> scores);
  void observe(Choice& choice, const Tokens& tokens);
  void end_choice(Choice& choice, Ending why);
  void complete();
  void fail(const ApiError& error, prometheus::Counter& outcome);
  void close(int status);
  void on_timer();
  void arm();

  const GenerationParts parts_;
  const GenerationTimes times_;
  const int thread_;
  const Generate request_;
  const std::string trace_;
  const Instant received_;
  std::function<void(int)> ended_call_;
  std::unique_ptr<Answer> answer_;
  std::vector<std::unique_ptr<Choice>> choices_;
  std::unique_ptr<HttpTimer> timer_;
  std::shared_ptr<Generation> self_;  // keeps it alive until the end
  Delta delta_;                       // reused
  Instant last_sign_;
  bool begun_ = false;  // a first token came
  int ended_ = 0;
};

}  // namespace fathom
