#include "gateway/generation.h"

#include <algorithm>

#include "base/philox.h"
#include "process/log.h"

namespace fathom {

class Generation::Choice final : public TokenSink {
 public:
  Choice(Generation& owner, int choice_index, const ChoiceTextOptions& options)
      : index(choice_index), text(options), owner_(owner) {}
  void on_tokens(Tokens tokens, Instant arrived) override {
    const auto alive = owner_.self_;
    owner_.on_tokens(*this, std::move(tokens), arrived);
  }
  void on_finished(const Finished& finished) override {
    const auto alive = owner_.self_;
    entry = nullptr;
    owner_.on_finished(*this, finished);
  }

  const int index;
  ChoiceText text;
  DispatchEntry* entry = nullptr;  // null: the router is not (or no longer) asked
  bool ended = false;
  int32_t completion = 0;
  int32_t cached = 0;
  Instant submitted;
  Instant last_tokens = kNever;
  std::vector<TokenLogprob> prompt_scores;
  bool scores_told = false;

 private:
  Generation& owner_;
};

Generation::Generation(const GenerationParts& parts, const GenerationTimes& times, int thread,
                       Generate request, std::string trace, Instant received,
                       std::function<void(int)> ended)
    : parts_(parts),
      times_(times),
      thread_(thread),
      request_(std::move(request)),
      trace_(std::move(trace)),
      received_(received),
      ended_call_(std::move(ended)),
      last_sign_(received) {}

Generation::~Generation() = default;

std::shared_ptr<Generation> Generation::start(const GenerationParts& parts,
                                              const GenerationTimes& times, int thread,
                                              Generate request, std::string trace, Instant received,
                                              const MakeAnswer& make_answer,
                                              std::function<void(int)> ended) {
  std::shared_ptr<Generation> out(new Generation(parts, times, thread, std::move(request),
                                                 std::move(trace), received, std::move(ended)));
  out->answer_ = make_answer(out->request_);
  out->self_ = out;
  out->timer_ = parts.threads.timer(thread, [weak = std::weak_ptr(out)] {
    if (const auto self = weak.lock()) self->on_timer();
  });
  out->submit_all();
  return out;
}

void Generation::submit_all() {
  const ChoiceTextOptions options{.tokenizer = parts_.model.tokenizer.get(),
                                  .skip_special = request_.skip_special,
                                  .reasoning = request_.reasoning,
                                  .tools = request_.tools.format,
                                  .tool_names = request_.tools.names,
                                  .one_call = !request_.tools.parallel,
                                  .beginning = request_.tools.beginning,
                                  .stop = request_.stop,
                                  .include_stop = request_.include_stop};
  for (int i = 0; i < request_.choices(); ++i)
    choices_.push_back(std::make_unique<Choice>(*this, i, options));
  for (const auto& choice : choices_) {
    const Prompt& prompt = request_.prompts[static_cast<size_t>(choice->index / request_.n)];
    const int k = choice->index % request_.n;
    Submit submit{.tokens = prompt.tokens,
                  .prompt_tokens = static_cast<int32_t>(prompt.tokens.size()),
                  .sampling = request_.sampling,
                  .tenant = request_.tenant,
                  .trace = trace_,
                  .time_left = times_.request_max};
    if (k > 0) submit.sampling.seed = philox_seed(request_.sampling.seed, static_cast<uint64_t>(k));
    Result<DispatchEntry*> entry = parts_.dispatch.submit(thread_, std::move(submit), *choice);
    if (!entry.ok())
      return fail(api_error(entry.error(), {}, times_.retry_after_seconds),
                  parts_.metrics.ended_refused);
    choice->entry = *entry;
    choice->submitted = parts_.clock.now();
  }
  arm();
}

void Generation::on_tokens(Choice& choice, Tokens tokens, Instant arrived) {
  if (tokens.finish != Finish::none) choice.entry = nullptr;
  if (choice.ended) return;
  take_scores(choice, std::move(tokens.prompt_logprobs));
  const bool any = !tokens.tokens.empty();
  const bool first = any && choice.last_tokens == kNever;
  if (any) observe(choice, tokens);
  if (any && !begun_) {
    begun_ = true;
    answer_->begin();
  }
  const bool stopped = any && take_tokens(choice, tokens);
  if (first) {
    const Duration there = choice.submitted - received_;
    const Duration back = parts_.clock.now() - arrived;
    parts_.metrics.added.Observe((there + back).to_seconds());
  }
  if (stopped) return end_choice(choice, Ending::stop);
  if (tokens.finish == Finish::stop || tokens.finish == Finish::length)
    end_choice(choice, tokens.finish == Finish::stop ? Ending::stop : Ending::length);
}

// Shows what the tokens say; true when it was the end of the answer.
bool Generation::take_tokens(Choice& choice, const Tokens& tokens) {
  delta_.clear();
  bool stopped = false;
  for (size_t i = 0; i < tokens.tokens.size() && !stopped; ++i) {
    const TokenId token = tokens.tokens[i];
    const auto& stops = request_.sampling.stop_tokens;
    const bool last = tokens.finish == Finish::stop && i + 1 == tokens.tokens.size();
    const bool hidden =
        last && !request_.include_stop && std::binary_search(stops.begin(), stops.end(), token);
    const TokenLogprob* score = i < tokens.logprobs.size() ? &tokens.logprobs[i] : nullptr;
    stopped = choice.text.push(token, score, hidden, delta_);
    ++choice.completion;
  }
  if (stopped || tokens.finish != Finish::none) choice.text.flush(delta_);
  answer_->step(choice.index, delta_);
  if (request_.stream) last_sign_ = choice.last_tokens;
  return stopped;
}

void Generation::take_scores(Choice& choice, std::vector<TokenLogprob> scores) {
  if (request_.sampling.prompt_logprobs < 0 || choice.scores_told) return;
  std::move(scores.begin(), scores.end(), std::back_inserter(choice.prompt_scores));
  const Prompt& prompt = request_.prompts[static_cast<size_t>(choice.index / request_.n)];
  if (choice.prompt_scores.size() + 1 < prompt.tokens.size()) return;
  choice.scores_told = true;
  answer_->prompt_scored(choice.index, std::move(choice.prompt_scores));
}

void Generation::observe(Choice& choice, const Tokens& tokens) {
  const Instant now = parts_.clock.now();
  GatewayMetrics& m = parts_.metrics;
  const auto count = static_cast<double>(tokens.tokens.size());
  if (choice.last_tokens == kNever) {
    const double seconds = (now - received_).to_seconds();
    m.time_to_first_token.Observe(seconds);
    m.vllm_time_to_first_token.Observe(seconds);
    choice.cached = tokens.cached;
  } else {
    const double seconds = (now - choice.last_tokens).to_seconds() / count;
    m.inter_token.Observe(seconds);
    m.vllm_inter_token.Observe(seconds);
  }
  choice.last_tokens = now;
  m.generated_tokens.Increment(count);
  m.vllm_generated_tokens.Increment(count);
  if (parts_.use != nullptr) parts_.use->generated_tokens.Increment(count);
}

void Generation::end_choice(Choice& choice, Ending why) {
  if (choice.entry != nullptr)
    parts_.dispatch.cancel(thread_, choice.entry);  // the text was at its end
  choice.entry = nullptr;
  choice.ended = true;
  GatewayMetrics& m = parts_.metrics;
  (why == Ending::stop ? m.ended_stop : m.ended_length).Increment();
  (why == Ending::stop ? m.vllm_success_stop : m.vllm_success_length).Increment();
  const bool calls = why == Ending::stop && choice.text.calls();
  answer_->end(choice.index, calls ? Ending::tool_calls : why);
  if (++ended_ == request_.choices()) complete();
}

void Generation::on_finished(Choice& choice, const Finished& finished) {
  if (choice.ended) return;
  if (finished.finish == Finish::stop || finished.finish == Finish::length) {
    delta_.clear();
    choice.text.flush(delta_);
    if (!delta_.empty()) answer_->step(choice.index, delta_);
    return end_choice(choice, finished.finish == Finish::stop ? Ending::stop : Ending::length);
  }
  const Error error = finished.finish == Finish::cancelled && finished.error.code == Code::unknown
                          ? Error{Code::unavailable, "the router cancelled the request", ""}
                          : finished.error;
  const bool refused = error.code == Code::resource_exhausted && !begun_;
  if (!refused) log_warning("request failed", {{"trace", trace_}, {"why", error.text()}});
  fail(api_error(error, finished.retry_after, times_.retry_after_seconds),
       refused ? parts_.metrics.ended_refused : parts_.metrics.ended_failed);
}

void Generation::complete() {
  UsageCount usage;
  for (const Prompt& prompt : request_.prompts)
    usage.prompt += static_cast<int32_t>(prompt.tokens.size());
  for (const auto& choice : choices_) {
    usage.completion += choice->completion;
    usage.reasoning += choice->text.reasoning_tokens();
    if (choice->index % request_.n == 0) usage.cached += choice->cached;
  }
  GatewayMetrics& m = parts_.metrics;
  m.prompt_tokens.Increment(usage.prompt);
  m.vllm_prompt_tokens.Increment(usage.prompt);
  m.cached_tokens.Increment(usage.cached);
  m.vllm_prefix_queries.Increment(usage.prompt);
  m.vllm_prefix_hits.Increment(usage.cached);
  m.reasoning_tokens.Increment(usage.reasoning);
  if (parts_.use != nullptr) {
    parts_.use->prompt_tokens.Increment(usage.prompt);
    parts_.use->cached_tokens.Increment(usage.cached);
  }
  answer_->complete(usage);
  close(200);
}

void Generation::fail(const ApiError& error, prometheus::Counter& outcome) {
  if (!self_) return;
  for (const auto& choice : choices_) {
    if (choice->ended) continue;
    if (choice->entry != nullptr) parts_.dispatch.cancel(thread_, choice->entry);
    choice->entry = nullptr;
    choice->ended = true;
    outcome.Increment();
    parts_.metrics.vllm_success_abort.Increment();
  }
  answer_->fail(error);
  close(error.status);
}

void Generation::close(int status) {
  const double seconds = (parts_.clock.now() - received_).to_seconds();
  parts_.metrics.end_to_end.Observe(seconds);
  parts_.metrics.vllm_end_to_end.Observe(seconds);
  timer_->stop();
  if (ended_call_) ended_call_(status);
  ended_call_ = nullptr;
  self_ = nullptr;
}

void Generation::client_left() {
  const auto alive = self_;
  fail(api_error({Code::cancelled, "the client left", ""}, {}, times_.retry_after_seconds),
       parts_.metrics.ended_cancelled);
}

void Generation::arm() {
  if (!self_) return;
  const bool silent = last_sign_ == received_;  // nothing was sent yet
  Instant next = last_sign_ + (silent ? times_.commit : times_.keep_alive);
  next = std::min(next, received_ + times_.request_max);
  if (!begun_) next = std::min(next, received_ + times_.start_max);
  timer_->after(std::max(next - parts_.clock.now(), Duration::ms(1)));
}

void Generation::on_timer() {
  const auto alive = self_;
  if (!alive) return;
  const Instant now = parts_.clock.now();
  const bool too_late = now >= received_ + times_.request_max;
  if (too_late || (!begun_ && now >= received_ + times_.start_max))
    return fail(
        api_error({Code::deadline_exceeded, "too late", ""}, {}, times_.retry_after_seconds),
        parts_.metrics.ended_failed);
  const bool silent = last_sign_ == received_;
  if (now >= last_sign_ + (silent ? times_.commit : times_.keep_alive)) {
    answer_->keep_alive();
    last_sign_ = now;
  }
  arm();
}

}  // namespace fathom
