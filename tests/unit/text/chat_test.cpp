// What does a chat format promise that golden renderings can not show? Texts forge nothing, exactly
// one BOS, a continued message is the rendering without its end, and what can not be rendered is
// refused by name.
#include <fstream>

#include "tests/unit/text/golden.h"
#include "tests/unit/text/random_text.h"
#include "text/chat_format.h"

namespace fathom::testing {
namespace {

std::shared_ptr<const ChatFormat> format(std::string_view name) {
  return ChatFormat::named(name, golden_tokenizer("deepseek-r1")).value();
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

TEST(chat, a_tokenizer_without_the_markers_of_a_format_is_refused) {
  const auto format = ChatFormat::named("deepseek-r1", golden_tokenizer("deepseek-v3"));
  ASSERT_FALSE(format.ok());
  EXPECT_NE(format.error().message.find("<think>"), std::string::npos);
  EXPECT_TRUE(ChatFormat::named("deepseek-v3", golden_tokenizer("deepseek-v3")).ok());
  EXPECT_EQ(ChatFormat::named("vicuna", golden_tokenizer("deepseek-v3")).error().code,
            Code::unimplemented);
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

TEST(chat, a_config_with_an_unknown_or_no_template_is_refused_naming_the_file) {
  const ConfigFile config;
  const auto refused = [&](const std::string& text) {
    config.write("tokenizer_config.json", text);
    const auto format = config.load();
    EXPECT_FALSE(format.ok()) << text;
    EXPECT_NE(format.error().field.find("tokenizer_config.json"), std::string::npos);
    return format.error().code;
  };
  EXPECT_EQ(refused(R"({"chat_template": "{{ messages }}", "bos_token": "<s>"})"),
            Code::unimplemented);
  EXPECT_EQ(refused(R"({"chat_template": [{"name": "default"}]})"), Code::unimplemented);
  EXPECT_EQ(refused("{}"), Code::failed_precondition);
  EXPECT_EQ(refused("{"), Code::invalid_argument);
}

TEST(chat, the_template_may_lie_beside_the_config) {
  const ConfigFile config;
  config.write("tokenizer_config.json", R"({"bos_token": "<｜begin▁of▁sentence｜>"})");
  config.write("chat_template.jinja", read_text(golden_path("templates/deepseek-r1-first.jinja")));
  const auto format = config.load();
  ASSERT_TRUE(format.ok()) << format.error().text();
  EXPECT_EQ((*format)->name(), "deepseek-r1-first");
}

}  // namespace
}  // namespace fathom::testing
