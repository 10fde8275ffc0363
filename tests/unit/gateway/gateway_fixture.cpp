#include "tests/unit/gateway/gateway_fixture.h"

#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>
#include <iterator>

namespace fathom {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

const fs::path kData = FATHOM_SOURCE_DIR "/tests/golden/data/tokenizer";

// A hybrid model's: thoughts on request, a date, and a complaint.
constexpr std::string_view kOwnTemplate = R"({{ bos_token }}{{ strftime_now('%Y') }} {{ tone }}
{%- for message in messages %}
    {%- if message.role == 'system' and not loop.first %}
        {{- raise_exception('system comes first') }}
    {%- endif %}
    {{- '<｜User｜>' if message.role == 'user' else '<｜Assistant｜>' }}{{ message.content }}
    {%- if message.reasoning_content is defined %}[{{ message.reasoning_content }}]{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<｜Assistant｜>' + ('<think>' if thinking else '</think>') }}
{%- endif %})";

void mark_special(const fs::path& path) {
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  in.close();
  json::value tokenizer = json::parse(text);
  for (json::value& token : tokenizer.at("added_tokens").as_array())
    if (token.at("content").as_string().find("tool") != json::string::npos)
      token.as_object()["special"] = true;
  std::ofstream(path) << json::serialize(tokenizer);
}

fs::path make_checkpoint(Kind kind) {
  std::string pattern = (fs::temp_directory_path() / "fathom_gateway_XXXXXX").string();
  const fs::path directory = ::mkdtemp(pattern.data());
  std::ofstream(directory / "config.json")
      << R"({"vocab_size":512,"bos_token_id":0,"eos_token_id":1,"max_position_embeddings":4096})";
  if (kind == Kind::no_tokenizer) return directory;
  fs::copy_file(kData / "mini-deepseek/tokenizer.json", directory / "tokenizer.json");
  if (kind == Kind::own_template) {
    std::ofstream(directory / "tokenizer_config.json")
        << R"({"bos_token":"<｜begin▁of▁sentence｜>","eos_token":"<｜User｜>"})";
    std::ofstream(directory / "chat_template.jinja") << kOwnTemplate;
    return directory;
  }
  if (kind == Kind::strange_template) {
    std::ofstream(directory / "tokenizer_config.json")
        << R"({"chat_template":"{% include 'x' %}"})";
    return directory;
  }
  if (kind == Kind::special_markers) mark_special(directory / "tokenizer.json");
  if (kind == Kind::minnow || kind == Kind::special_markers) {
    fs::copy_file(FATHOM_SOURCE_DIR "/models/minnow/tokenizer_config.json",
                  directory / "tokenizer_config.json");
    return directory;
  }
  fs::copy_file(
      kData / (kind == Kind::v3 ? "deepseek-v3" : "deepseek-r1") / "tokenizer_config.json",
      directory / "tokenizer_config.json");
  return directory;
}

}  // namespace

void GatewayTest::start_unconnected(Kind kind, GatewayConfig config) {
  directory_ = make_checkpoint(kind);
  config.listen = "127.0.0.1:0";
  config.checkpoint = directory_.string();
  if (kind != Kind::no_tokenizer) {
    auto tokenizer = Tokenizer::load((directory_ / "tokenizer.json").string());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
    tokenizer_ = *tokenizer;
  }
  auto gateway = start_gateway(config, {.clock = clock_,
                                        .metrics = metrics_,
                                        .connect = router_.factory(),
                                        .watch = router_.watch_factory(),
                                        .seed = 11});
  ASSERT_TRUE(gateway.ok()) << gateway.error().text();
  gateway_ = std::move(*gateway);
}

void GatewayTest::start(Kind kind, GatewayConfig config) {
  start_unconnected(kind, std::move(config));
  if (gateway_) router_.connect();
}

void GatewayTest::TearDown() {
  gateway_.reset();
  std::error_code ignored;
  if (!directory_.empty()) fs::remove_all(directory_, ignored);
}

std::string GatewayTest::chat_body(std::string_view extra) {
  return R"({"model":"tiny","messages":[{"role":"user","content":"hi"}])" + std::string(extra) +
         "}";
}

RawResponse GatewayTest::chat(std::string_view extra) {
  return post("/v1/chat/completions", chat_body(extra));
}

std::vector<TokenId> GatewayTest::ids(std::string_view text) const {
  std::vector<TokenId> out;
  tokenizer_->encode(text, Specials::as_text, out);
  return out;
}

FakeRouter::Script GatewayTest::says(std::string text, size_t per_message, Specials specials) {
  std::vector<TokenId> answer;
  tokenizer_->encode(text, specials, answer);
  answer.push_back(1);
  return [answer, per_message](const Submit& submit) {
    std::vector<FromRouter> out;
    const auto limit = std::min(answer.size(), static_cast<size_t>(submit.sampling.max_tokens));
    for (size_t i = 0; i < limit; i += per_message) {
      const size_t end = std::min(i + per_message, limit);
      Finish finish = Finish::none;
      if (end == limit) finish = limit == answer.size() ? Finish::stop : Finish::length;
      out.push_back(tokens_of(submit, static_cast<int>(i),
                              {answer.begin() + static_cast<ptrdiff_t>(i),
                               answer.begin() + static_cast<ptrdiff_t>(end)},
                              finish));
    }
    return out;
  };
}

Tokens tokens_of(const Submit& submit, int first, std::vector<TokenId> ids, Finish finish) {
  Tokens out{.id = submit.id, .first = first, .tokens = std::move(ids), .finish = finish};
  if (submit.sampling.logprobs < 0) return out;
  for (const TokenId id : out.tokens) {
    TokenLogprob score{.logprob = -0.5f};
    for (int k = 0; k < submit.sampling.logprobs; ++k)
      score.top.push_back(
          {k == 0 ? id : static_cast<TokenId>(100 + k), -0.5f - static_cast<float>(k)});
    out.logprobs.push_back(std::move(score));
  }
  return out;
}

json::value parsed(std::string_view text) {
  boost::system::error_code error;
  json::value out = json::parse(json::string_view(text.data(), text.size()), error);
  return error ? json::value() : out;
}

std::string at(const json::value& value, std::string_view pointer) {
  boost::system::error_code error;
  const json::value* found =
      value.find_pointer(json::string_view(pointer.data(), pointer.size()), error);
  if (found == nullptr) return "";
  if (const json::string* text = found->if_string()) return std::string(text->data(), text->size());
  return json::serialize(*found);
}

std::vector<json::value> events_of(std::string_view sse) {
  std::vector<json::value> out;
  for (size_t at = 0; at < sse.size();) {
    const size_t end = std::min(sse.find('\n', at), sse.size());
    const std::string_view line = sse.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("data: ") && line != "data: [DONE]") out.push_back(parsed(line.substr(6)));
  }
  return out;
}

std::string joined(const std::vector<json::value>& events, int index, std::string_view pointer) {
  std::string out;
  for (const json::value& event : events)
    if (at(event, "/choices/0/index") == std::to_string(index)) {
      const std::string piece = at(event, "/choices/0" + std::string(pointer));
      if (piece != "null") out += piece;
    }
  return out;
}

}  // namespace fathom
