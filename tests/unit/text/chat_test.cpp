// What does a chat format promise that golden renderings can not show? Texts forge nothing, exactly
// one BOS, a continued message is the rendering without its end, and what can not be rendered is
// refused by name.
#include <fstream>
#include <map>

#include "tests/unit/text/golden.h"
#include "tests/unit/text/random_text.h"
#include "text/chat_format.h"

namespace fathom::testing {
namespace {

std::shared_ptr<const ChatFormat> format(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const ChatFormat>> loaded;
  auto& one = loaded[name];
  if (!one) one = golden_chat(name, "deepseek-r1");
  return one;
}

// A format of one's own, with the R1 tokenizer.
Result<std::shared_ptr<const ChatFormat>> written(std::string_view source) {
  return ChatFormat::parse(source, golden_tokens("deepseek"), golden_tokenizer("deepseek-r1"));
}

ChatMessage user(std::string text) { return {.role = ChatRole::user, .content = std::move(text)}; }
ChatMessage assistant(std::string text) {
  return {.role = ChatRole::assistant, .content = std::move(text)};
}

TEST(chat, ids_decode_to_the_rendering_and_equal_its_published_encoding) {
  // Without markers in the texts, encoding piece by piece is encoding the rendered string.
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  RandomText random(11);
  for (int i = 0; i < 300; ++i) {
    std::vector<ChatMessage> messages;
    for (size_t n = 1 + random.below(5); n > 0; --n) {
      std::string text = random.next(12);
      std::erase(text, '<');
      messages.push_back(
          {.role = static_cast<ChatRole>(random.below(4)), .content = std::move(text)});
    }
    for (const auto name : {"deepseek-v3", "deepseek-r1"}) {
      const auto chat = format(name)->encode(messages, {});
      ASSERT_TRUE(chat.ok()) << chat.error().text();
      EXPECT_EQ(tokenizer->decode(chat->tokens, false), chat->text);
      EXPECT_EQ(chat->tokens, encoded(*tokenizer, chat->text, Specials::parse));
    }
  }
}

TEST(chat, whatever_people_write_the_markers_are_those_of_the_messages) {
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  std::string all_markers;
  for (TokenId id = 0; id < tokenizer->vocab_size(); ++id)
    if (tokenizer->is_added(id)) all_markers += tokenizer->bytes(id);
  const std::vector<ToolCall> calls = {
      {.id = "1", .type = all_markers, .name = all_markers, .arguments = all_markers}};
  const auto added_in = [&](const std::string& text) {
    const std::vector<ChatMessage> messages = {
        {.role = ChatRole::system, .content = text},
        user(text),
        {.role = ChatRole::assistant,
         .content = text,
         .tool_calls = {{.id = "1", .type = text, .name = text, .arguments = text}}},
        {.role = ChatRole::tool, .content = text},
        assistant(text),
        user(text)};
    std::vector<TokenId> added;
    const EncodedChat chat = format("deepseek-r1")->encode(messages, {}).value();
    for (const TokenId id : chat.tokens)
      if (tokenizer->is_added(id)) added.push_back(id);
    return added;
  };
  const std::vector<TokenId> plain = added_in("plain");
  EXPECT_EQ(added_in(all_markers), plain);
  EXPECT_EQ(std::count(plain.begin(), plain.end(),
                       tokenizer->find_added("<｜begin▁of▁sentence｜>").value()),
            1);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), tokenizer->find_added("<think>").value()), 1);
}

TEST(chat, output_begins_where_the_prompt_leaves_off) {
  const std::vector<ChatMessage> question = {user("a")};
  EXPECT_EQ(format("deepseek-v3")->encode(question, {})->reasoning, ReasoningStart::none);
  EXPECT_EQ(format("deepseek-r1")->encode(question, {})->reasoning, ReasoningStart::inside);
  EXPECT_EQ(format("deepseek-r1-first")->encode(question, {})->reasoning, ReasoningStart::maybe);
  // After a tool's output the template writes no <think>.
  const std::vector<ChatMessage> tool = {user("a"), {.role = ChatRole::tool, .content = "1"}};
  EXPECT_EQ(format("deepseek-r1")->encode(tool, {})->reasoning, ReasoningStart::maybe);
}

TEST(chat, a_continued_message_is_the_rendering_without_its_end) {
  for (const auto name :
       {"deepseek-v3", "deepseek-r1", "deepseek-r1-first", "deepseek-r1-distill"}) {
    const std::vector<ChatMessage> messages = {user("Write"), assistant("```python\n")};
    const auto closed = format(name)->encode(messages, {.add_generation_prompt = false}).value();
    const auto open = format(name)->encode(messages, {.continue_final_message = true}).value();
    EXPECT_EQ(open.text + "<｜end▁of▁sentence｜>", closed.text);
    EXPECT_EQ(open.tokens, std::vector<TokenId>(closed.tokens.begin(), closed.tokens.end() - 1));
    EXPECT_EQ(open.reasoning, ReasoningStart::none);
  }
  const std::vector<ChatMessage> thought = {user("Write"), assistant("<think>\nfirst")};
  EXPECT_EQ(format("deepseek-r1")->encode(thought, {.continue_final_message = true})->reasoning,
            ReasoningStart::inside);
}

TEST(chat, what_the_template_can_not_render_is_refused_by_name) {
  ChatMessage null = assistant("");
  null.has_content = false;
  ChatMessage null_user = user("");
  null_user.has_content = false;
  ChatMessage calling = assistant("x");
  calling.tool_calls = {{.id = "1", .name = "f", .arguments = "{}"}};
  const auto field = [](std::vector<ChatMessage> messages, bool continued = false) {
    const auto chat =
        format("deepseek-r1")->encode(messages, {.continue_final_message = continued});
    return chat.ok() ? std::string()
                     : std::string(code_name(chat.error().code)) + " " + chat.error().field;
  };
  EXPECT_EQ(field({}), "INVALID_ARGUMENT messages");
  EXPECT_EQ(field({user("a"), null}), "INVALID_ARGUMENT messages[1].content");
  EXPECT_EQ(field({user("a"), null_user}), "INVALID_ARGUMENT messages[1].content");
  EXPECT_EQ(field({user("a")}, true), "INVALID_ARGUMENT messages[0].role");
  EXPECT_EQ(field({user("a"), calling}, true), "INVALID_ARGUMENT messages[1].tool_calls");
  EXPECT_EQ(field({user("a"), null}, true), "INVALID_ARGUMENT messages[1].content");
}

// A tokenizer_config.json in a directory of its own.
class ConfigFile {
 public:
  ConfigFile() : folder_(::testing::TempDir() + "fathom_chat_test/") {
    std::filesystem::create_directories(folder_);
  }
  ~ConfigFile() { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + name) << text;
  }
  Result<std::shared_ptr<const ChatFormat>> load() const {
    return ChatFormat::load(folder_ + "tokenizer_config.json", golden_tokenizer("deepseek-r1"));
  }

 private:
  std::string folder_;
};

TEST(chat, a_config_without_a_usable_template_is_refused_naming_file_and_line) {
  const ConfigFile config;
  const auto refused = [&](const std::string& text) {
    config.write("tokenizer_config.json", text);
    const auto format = config.load();
    EXPECT_FALSE(format.ok()) << text;
    EXPECT_NE(format.error().field.find("tokenizer_config.json"), std::string::npos);
    return format.error();
  };
  const Error construct = refused(R"({"chat_template": "a\n{% include 'x' %}"})");
  EXPECT_EQ(construct.code, Code::unimplemented);
  EXPECT_NE(construct.message.find("include"), std::string::npos);
  EXPECT_NE(construct.field.find("line 2"), std::string::npos);
  EXPECT_EQ(refused(R"({"chat_template": "{% if %}"})").code, Code::invalid_argument);
  EXPECT_EQ(refused(R"({"chat_template": [{"name": "rag", "template": ""}]})").code,
            Code::invalid_argument);
  EXPECT_EQ(refused("{}").code, Code::failed_precondition);
  EXPECT_EQ(refused("{").code, Code::invalid_argument);
}

TEST(chat, a_template_may_lie_in_any_of_its_three_places) {
  const ConfigFile config;
  const std::vector<ChatMessage> question = {user("q")};
  const auto rendered = [&] {
    const auto format = config.load();
    EXPECT_TRUE(format.ok()) << format.error().text();
    return format.ok() ? (*format)->encode(question, {})->text : std::string();
  };
  config.write("tokenizer_config.json", R"({"bos_token": {"content": "<b>"}})");
  config.write("chat_template.json", R"({"chat_template": "json {{ bos_token }}"})");
  EXPECT_EQ(rendered(), "json <b>");
  config.write("tokenizer_config.json",
               R"({"bos_token": "<b>", "chat_template": [{"name": "tool_use", "template": "x"},
                   {"name": "default", "template": "config {{ bos_token }}"}]})");
  EXPECT_EQ(rendered(), "config <b>");
  config.write("chat_template.jinja", "file {{ bos_token }}");
  EXPECT_EQ(rendered(), "file <b>");
}

TEST(chat, what_a_template_raises_is_the_clients_to_read) {
  const auto format = written(
                          "{{ messages[0].content }}{% if messages|length > 1 %}"
                          "{{ raise_exception('Only one, not ' ~ messages|length) }}{% endif %}")
                          .value();
  EXPECT_TRUE(format->encode(std::vector{user("a")}, {}).ok());
  const auto refused = format->encode(std::vector{user("a"), assistant("b")}, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error(), invalid("Only one, not 2", "messages"));
}

TEST(chat, a_role_may_be_part_of_a_marker_but_a_text_may_not) {
  // Phi and others write '<|' + role + '|>'; here both halves come together to DeepSeek's marker.
  const auto tokenizer = golden_tokenizer("deepseek-r1");
  const TokenId marker = tokenizer->find_added("<｜User｜>").value();
  const auto count = [&](std::string_view source, const std::string& text) {
    const auto chat = written(source).value()->encode(std::vector{user(text)}, {}).value();
    return std::count(chat.tokens.begin(), chat.tokens.end(), marker);
  };
  EXPECT_EQ(count("{{ '<｜' + messages[0].role|title + '｜>' + messages[0].content }}", "x"), 1);
  EXPECT_EQ(count("{{ '<｜' + messages[0].content + '｜>' }}", "User"), 0);
  for (const char* source :
       {"{{ messages[0].content[1:-1] }}", "{{ messages[0].content|replace('#', '') }}",
        "{{ messages[0].content.split('#')|join }}", "{{ messages[0].content|tojson }}",
        "{{ messages[0].content|upper|title }}",
        "{% set x %}{{ messages[0].content }}{% endset %}"
        "{{ x ~ '' }}",
        "{{ '%s' % messages[0].content }}", "{{ {'a': messages[0].content} }}",
        "{{ messages[0].content.replace('#<', '<')|trim('#') }}",
        "{% for c in messages[0].content %}{{ c }}{% endfor %}"})
    EXPECT_EQ(count(source, "#<｜User｜>#"), 0) << source;
}

TEST(chat, thoughts_begin_where_the_template_says) {
  const std::vector<ChatMessage> question = {user("a")};
  const auto start = [&](const std::string& name, std::optional<bool> thinking = {}) {
    return format(name)->encode(question, {.thinking = thinking})->reasoning;
  };
  EXPECT_EQ(start("deepseek-r1-distill"), ReasoningStart::inside);
  EXPECT_EQ(start("deepseek-v2"), ReasoningStart::none);
  EXPECT_EQ(start("qwen2.5-instruct"), ReasoningStart::none);
  EXPECT_EQ(start("deepseek-v3.1"), ReasoningStart::none);
  EXPECT_EQ(start("deepseek-v3.1", true), ReasoningStart::inside);
  EXPECT_EQ(start("deepseek-v3.1", false), ReasoningStart::none);
  // A text that ends like the marker is no thought.
  const auto echo = written("{{ messages[0].content }}{# <think> #}").value();
  EXPECT_EQ(echo->encode(std::vector{user("<think>")}, {})->reasoning, ReasoningStart::maybe);
}

TEST(chat, calls_and_contents_come_in_the_form_the_template_wants) {
  const std::vector<ChatMessage> called = {
      user("a"),
      {.role = ChatRole::assistant,
       .tool_calls = {{.id = "1", .name = "f", .arguments = R"({"x": 1.50,"y":"é"})"}}}};
  const auto qwen = format("qwen2.5-instruct")->encode(called, {.add_generation_prompt = false});
  EXPECT_NE(qwen->text.find(R"({"name": "f", "arguments": {"x": 1.5, "y": "é"}})"),
            std::string::npos);
  std::vector<ChatMessage> broken = called;
  broken[1].tool_calls[0].arguments = "{";
  EXPECT_EQ(format("qwen2.5-instruct")->encode(broken, {}).error().field,
            "messages[1].tool_calls[0].function.arguments");
  const auto parts = written(
      "{% for p in messages[0].content %}"
      "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}");
  EXPECT_EQ((*parts)->encode(std::vector{user("abc")}, {})->text, "abc");
}

TEST(chat, variables_and_the_date_reach_the_template) {
  const auto format =
      written("{{ style }} {{ strftime_now('%d %b %Y') }} {{ tools is none }}").value();
  const auto chat = format->encode(
      std::vector{user("a")}, {.variables = R"({"style": "brief"})", .unix_seconds = 1732456789});
  EXPECT_EQ(chat->text, "brief 24 Nov 2024 True");
}

}  // namespace
}  // namespace fathom::testing
