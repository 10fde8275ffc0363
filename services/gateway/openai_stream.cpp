// How is a streamed answer written? One event per step: a prefix made once per choice, the escaped
// text, and a suffix. A token costs two appends and one send.
#include <algorithm>

#include "gateway/json_text.h"
#include "gateway/openai_answer.h"
#include "gateway/openai_calls.h"
#include "gateway/openai_parts.h"

namespace fathom {
namespace {

constexpr std::string_view kDone = "data: [DONE]\n\n";

class StreamAnswer final : public Answer {
 public:
  explicit StreamAnswer(OpenAiContext context);
  void begin() override;
  void keep_alive() override;
  void prompt_scored(int choice, std::vector<TokenLogprob> scores) override;
  void step(int choice, const Delta& delta) override;
  void end(int choice, Ending why) override;
  void complete(const UsageCount& usage) override;
  void fail(const ApiError& error) override;

 private:
  struct Choice {
    Choice(const Tokenizer* tokenizer, int top) : logprobs(tokenizer, top) {}
    bool started = false;
    bool ended = false;
    CompletionLogprobs logprobs;  // completions only
    std::vector<TokenLogprob> prompt_scores;
  };
  bool chat() const { return request_.surface == Surface::chat; }
  const Prompt& prompt_of(int choice) const {
    return request_.prompts[static_cast<size_t>(choice / request_.n)];
  }
  void open(int choice);                     // up to and with the choice's index
  void close(std::span<const TokenId> ids);  // from after the delta
  void text_event(int choice, std::string_view key, std::string_view text, const Delta* delta);
  void call_event(int choice, const CallDelta& call, const Delta* delta);
  void close_delta(int choice, const Delta* delta);
  void start(int choice);
  void start_completion(int choice, Choice& state);
  void append_scores(int choice, const Delta* delta);
  void finish_event(int choice, std::string_view reason);
  void flush();

  OpenAiContext context_;
  const Generate& request_;
  std::vector<Choice> choices_;
  std::string prefix_;  // of every event
  std::string suffix_;  // of every event with a choice, from after the list of choices
  std::string out_;
  int ended_ = 0;
  bool begun_ = false;
};

StreamAnswer::StreamAnswer(OpenAiContext context)
    : context_(std::move(context)), request_(context_.request) {
  prefix_ = "data: {\"id\":" + json_quoted(context_.head.id) + ",\"object\":\"" +
            (chat() ? "chat.completion.chunk" : "text_completion") +
            "\",\"created\":" + std::to_string(context_.head.created) +
            ",\"model\":" + json_quoted(request_.model) +
            ",\"system_fingerprint\":" + json_quoted(context_.head.fingerprint);
  if (!request_.service_tier.empty())
    prefix_ += ",\"service_tier\":" + json_quoted(request_.service_tier);
  suffix_ = request_.include_usage ? ",\"usage\":null}\n\n" : "}\n\n";
  for (int i = 0; i < request_.choices(); ++i)
    choices_.emplace_back(context_.tokenizer, request_.sampling.logprobs);
}

void StreamAnswer::begin() {
  if (begun_) return;
  begun_ = true;
  ServerResponse head{.content_type = "text/event-stream; charset=utf-8"};
  head.headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}};
  add_openai_headers(head, context_.clock, context_.received);
  context_.exchange->start_stream(std::move(head));
}

void StreamAnswer::keep_alive() {
  begin();
  context_.exchange->write(": keep-alive\n\n");
}

void StreamAnswer::open(int choice) {
  out_ += prefix_;
  out_ += ",\"choices\":[{\"index\":";
  append_json(out_, static_cast<int64_t>(choice));
}

void StreamAnswer::close(std::span<const TokenId> ids) {
  if (request_.return_token_ids) {
    out_ += ",\"token_ids\":";
    append_json(out_, ids);
  }
  out_ += "}]";
  out_ += suffix_;
}

void StreamAnswer::append_scores(int choice, const Delta* delta) {
  out_ += ",\"logprobs\":";
  const bool any = delta != nullptr && !delta->scored.empty();
  if (!any) {
    out_ += "null";
  } else if (chat()) {
    append_chat_logprobs(out_, context_.tokenizer, delta->scored, request_.sampling.logprobs);
  } else {
    CompletionLogprobs& gathered = choices_[static_cast<size_t>(choice)].logprobs;
    gathered.add(delta->scored);
    gathered.take(out_);
  }
}

// `delta` lends log-probabilities and token ids; null for a piece that has none.
void StreamAnswer::text_event(int choice, std::string_view key, std::string_view text,
                              const Delta* delta) {
  open(choice);
  out_ += chat() ? ",\"delta\":{\"" : ",\"";
  out_ += key;
  out_ += "\":\"";
  append_escaped(out_, text);
  out_ += chat() ? "\"}" : "\"";
  close_delta(choice, delta);
}

void StreamAnswer::call_event(int choice, const CallDelta& call, const Delta* delta) {
  open(choice);
  out_ += ",\"delta\":{";
  append_call(out_, call_id(context_.head.id, choice, call.call), call, request_.tools.legacy);
  out_ += '}';
  close_delta(choice, delta);
}

void StreamAnswer::close_delta(int choice, const Delta* delta) {
  append_scores(choice, delta);
  out_ += ",\"finish_reason\":null";
  close(delta != nullptr ? std::span<const TokenId>(delta->token_ids) : std::span<const TokenId>());
}

void StreamAnswer::prompt_scored(int choice, std::vector<TokenLogprob> scores) {
  choices_[static_cast<size_t>(choice)].prompt_scores = std::move(scores);
}

// The first event of a choice: the role, or the echoed prompt.
void StreamAnswer::start(int choice) {
  Choice& state = choices_[static_cast<size_t>(choice)];
  if (state.started) return;
  state.started = true;
  if (!chat()) return start_completion(choice, state);
  open(choice);
  out_ +=
      ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":"
      "null}]";
  if (request_.return_token_ids && choice == 0) {
    out_ += ",\"prompt_token_ids\":";
    append_json(out_, prompt_of(choice).tokens);
  }
  out_ += suffix_;
  if (request_.echo && !prompt_of(choice).text.empty())
    text_event(choice, "content", prompt_of(choice).text, nullptr);
}

void StreamAnswer::start_completion(int choice, Choice& state) {
  const bool scored = request_.echo && request_.sampling.prompt_logprobs >= 0;
  if (!request_.echo && !request_.return_token_ids) return;
  open(choice);
  out_ += ",\"text\":\"";
  if (request_.echo) append_escaped(out_, prompt_of(choice).text);
  out_ += "\",\"logprobs\":";
  if (scored) {
    add_prompt(prompt_of(choice).tokens, state.prompt_scores, context_.tokenizer, state.logprobs);
    state.logprobs.take(out_);
  } else {
    out_ += "null";
  }
  out_ += ",\"finish_reason\":null";
  if (request_.return_token_ids) {
    out_ += ",\"prompt_token_ids\":";
    append_json(out_, prompt_of(choice).tokens);
  }
  close({});
}

// Log-probabilities and token ids travel once, with the text if there is some, else with what comes
// last.
void StreamAnswer::step(int choice, const Delta& delta) {
  begin();
  start(choice);
  const bool thought = !delta.reasoning.empty() && request_.show_reasoning;
  const bool ids_wanted = request_.return_token_ids && !delta.token_ids.empty();
  const bool other = thought || !delta.calls.empty();
  const bool text = !delta.content.empty() || !delta.scored.empty() || (ids_wanted && !other);
  const bool calls_carry = !text && !delta.calls.empty();
  if (thought)
    text_event(choice, "reasoning_content", delta.reasoning,
               text || calls_carry ? nullptr : &delta);
  if (text) text_event(choice, chat() ? "content" : "text", delta.content, &delta);
  for (const CallDelta& call : delta.calls)
    call_event(choice, call, calls_carry && &call == &delta.calls.back() ? &delta : nullptr);
  flush();
}

void StreamAnswer::finish_event(int choice, std::string_view reason) {
  open(choice);
  out_ += chat() ? ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\""
                 : ",\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"";
  out_ += reason;
  out_ += '"';
  close({});
}

void StreamAnswer::end(int choice, Ending why) {
  begin();
  start(choice);
  finish_event(choice, ending_name(why, request_.tools.legacy));
  choices_[static_cast<size_t>(choice)].ended = true;
  if (++ended_ < request_.choices()) flush();  // the last one leaves with the end of the stream
}

void StreamAnswer::complete(const UsageCount& usage) {
  begin();
  if (request_.include_usage) {
    out_ += prefix_;
    out_ += ",\"choices\":[],\"usage\":";
    append_usage(out_, usage);
    out_ += "}\n\n";
  }
  out_ += kDone;
  context_.exchange->finish(out_);
  out_.clear();
}

void StreamAnswer::fail(const ApiError& error) {
  if (!begun_) {
    ServerResponse response = error_response(error);
    add_openai_headers(response, context_.clock, context_.received);
    return context_.exchange->respond(std::move(response));
  }
  for (int choice = 0; choice < request_.choices(); ++choice) {
    const Choice& state = choices_[static_cast<size_t>(choice)];
    if (state.started && !state.ended) finish_event(choice, "error");
  }
  out_ += "data: " + error_body(error) + "\n\n";
  out_ += kDone;
  context_.exchange->finish(out_);
  out_.clear();
}

void StreamAnswer::flush() {
  if (!out_.empty()) context_.exchange->write(out_);
  out_.clear();
}

}  // namespace

std::unique_ptr<Answer> make_stream_answer(OpenAiContext context) {
  return std::make_unique<StreamAnswer>(std::move(context));
}

void add_openai_headers(ServerResponse& response, const Clock& clock, Instant received) {
  const Duration spent = clock.now() - received;
  response.headers.emplace_back("openai-processing-ms", std::to_string(spent.ns / 1'000'000));
  response.headers.emplace_back("openai-version", "2020-10-01");
}

}  // namespace fathom
