// How is an answer in one piece written? Everything is gathered and sent at the end. If that takes
// long the status goes out early and newlines keep the connection awake; a failure after that still
// ends in JSON that says so.
#include "gateway/json_text.h"
#include "gateway/openai_answer.h"
#include "gateway/openai_calls.h"
#include "gateway/openai_parts.h"

namespace fathom {
namespace {

class WholeAnswer final : public Answer {
 public:
  explicit WholeAnswer(OpenAiContext context)
      : context_(std::move(context)), request_(context_.request) {
    choices_.resize(static_cast<size_t>(request_.choices()));
  }
  void begin() override {}
  void keep_alive() override;
  void prompt_scored(int choice, std::vector<TokenLogprob> scores) override {
    choices_[static_cast<size_t>(choice)].prompt_scores = std::move(scores);
  }
  void step(int choice, const Delta& delta) override;
  void end(int choice, Ending why) override {
    choices_[static_cast<size_t>(choice)].ending = ending_name(why, request_.tools.legacy);
  }
  void complete(const UsageCount& usage) override;
  void fail(const ApiError& error) override;

 private:
  struct Choice {
    std::string reasoning, content;
    std::vector<FinishedCall> calls;
    std::vector<ScoredToken> scored;
    std::vector<TokenId> token_ids;
    std::vector<TokenLogprob> prompt_scores;
    const char* ending = nullptr;
  };
  bool chat() const { return request_.surface == Surface::chat; }
  const Prompt& prompt_of(size_t choice) const {
    return request_.prompts[choice / static_cast<size_t>(request_.n)];
  }
  void append_head(std::string& out) const;
  void append_choice(std::string& out, size_t index) const;
  void append_chat(std::string& out, size_t index) const;
  void append_completion(std::string& out, size_t index) const;
  void send(std::string body);

  OpenAiContext context_;
  const Generate& request_;
  std::vector<Choice> choices_;
  bool committed_ = false;
};

void WholeAnswer::keep_alive() {
  if (!committed_) {
    committed_ = true;
    ServerResponse head;
    add_openai_headers(head, context_.clock, context_.received);
    context_.exchange->start_stream(std::move(head));
  }
  context_.exchange->write("\n");
}

void WholeAnswer::step(int choice, const Delta& delta) {
  Choice& state = choices_[static_cast<size_t>(choice)];
  state.reasoning += delta.reasoning;
  state.content += delta.content;
  gather(delta.calls, state.calls);
  state.scored.insert(state.scored.end(), delta.scored.begin(), delta.scored.end());
  if (request_.return_token_ids)
    state.token_ids.insert(state.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
}

void WholeAnswer::append_head(std::string& out) const {
  out += "{\"id\":" + json_quoted(context_.head.id) + ",\"object\":\"" +
         (chat() ? "chat.completion" : "text_completion") +
         "\",\"created\":" + std::to_string(context_.head.created) +
         ",\"model\":" + json_quoted(request_.model);
}

void WholeAnswer::append_chat(std::string& out, size_t index) const {
  const Choice& state = choices_[index];
  out += ",\"message\":{\"role\":\"assistant\",\"content\":";
  const std::string content = request_.echo ? prompt_of(index).text + state.content : state.content;
  if (content.empty() && !state.calls.empty()) {
    out += "null";
  } else {
    append_json(out, content);
  }
  out += ",\"refusal\":null";
  if (!state.calls.empty()) out += ',';
  append_calls(out, context_.head.id, static_cast<int>(index), state.calls, request_.tools.legacy);
  if (!state.reasoning.empty() && request_.show_reasoning) {
    out += ",\"reasoning_content\":";
    append_json(out, state.reasoning);
  }
  out += "},\"logprobs\":";
  if (request_.sampling.logprobs >= 0) {
    append_chat_logprobs(out, context_.tokenizer, state.scored, request_.sampling.logprobs);
  } else {
    out += "null";
  }
}

void WholeAnswer::append_completion(std::string& out, size_t index) const {
  const Choice& state = choices_[index];
  out += ",\"text\":\"";
  if (request_.echo) append_escaped(out, prompt_of(index).text);
  append_escaped(out, state.content);
  out += "\",\"logprobs\":";
  if (request_.sampling.logprobs < 0) {
    out += "null";
  } else {
    CompletionLogprobs logprobs(context_.tokenizer, request_.sampling.logprobs);
    if (request_.echo)
      add_prompt(prompt_of(index).tokens, state.prompt_scores, context_.tokenizer, logprobs);
    logprobs.add(state.scored);
    logprobs.take(out);
  }
  if (request_.return_token_ids) {
    out += ",\"prompt_token_ids\":";
    append_json(out, prompt_of(index).tokens);
  }
}

void WholeAnswer::append_choice(std::string& out, size_t index) const {
  out += "{\"index\":" + std::to_string(index);
  if (chat()) {
    append_chat(out, index);
  } else {
    append_completion(out, index);
  }
  if (request_.return_token_ids) {
    out += ",\"token_ids\":";
    append_json(out, choices_[index].token_ids);
  }
  const char* ending = choices_[index].ending;
  out += ",\"finish_reason\":" +
         json_quoted(ending != nullptr ? ending : "insufficient_system_resource") + "}";
}

void WholeAnswer::complete(const UsageCount& usage) {
  std::string body;
  append_head(body);
  body += ",\"choices\":[";
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (i > 0) body += ',';
    append_choice(body, i);
  }
  body += "],\"usage\":";
  append_usage(body, usage);
  body += ",\"system_fingerprint\":" + json_quoted(context_.head.fingerprint);
  if (!request_.service_tier.empty())
    body += ",\"service_tier\":" + json_quoted(request_.service_tier);
  if (chat() && request_.return_token_ids) {
    body += ",\"prompt_token_ids\":";
    append_json(body, request_.prompts.front().tokens);
  }
  body += '}';
  send(std::move(body));
}

void WholeAnswer::fail(const ApiError& error) {
  if (!committed_) {
    ServerResponse response = error_response(error);
    add_openai_headers(response, context_.clock, context_.received);
    return context_.exchange->respond(std::move(response));
  }
  // The 200 is out: a client that looks only for choices must find an unfinished one, one that
  // looks for errors the error.
  std::string body;
  append_head(body);
  body += ",\"choices\":[{\"index\":0,";
  body += chat() ? "\"message\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"
                 : "\"text\":\"\"";
  body += ",\"logprobs\":null,\"finish_reason\":\"insufficient_system_resource\"}],\"usage\":";
  append_usage(body, {});
  body += ",\"error\":" + error_member(error) + "}";
  send(std::move(body));
}

void WholeAnswer::send(std::string body) {
  if (committed_) {
    context_.exchange->finish(body);
    return;
  }
  ServerResponse response{.body = std::move(body)};
  add_openai_headers(response, context_.clock, context_.received);
  context_.exchange->respond(std::move(response));
}

}  // namespace

std::unique_ptr<Answer> make_whole_answer(OpenAiContext context) {
  return std::make_unique<WholeAnswer>(std::move(context));
}

}  // namespace fathom
