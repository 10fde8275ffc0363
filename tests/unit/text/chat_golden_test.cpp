// Does a conversation become the published rendering, byte for byte? Every golden conversation
// through every published template, as variables and as messages, and the ids of the end-to-end
// cases.
#include <boost/json.hpp>

#include "tests/unit/text/golden.h"
#include "text/chat_format.h"
#include "text/jinja/template.h"

namespace fathom::testing {
namespace {

namespace json = boost::json;

struct Conversation {
  std::vector<ChatMessage> messages;
  bool representable = true;  // arguments that are not a string can not even be written down
};

ChatRole role_of(std::string_view name) {
  if (name == "system") return ChatRole::system;
  if (name == "assistant") return ChatRole::assistant;
  return name == "tool" ? ChatRole::tool : ChatRole::user;
}

ToolCall call_of(const json::object& call, bool& representable) {
  const json::object& function = call.at("function").as_object();
  representable = representable && function.at("arguments").is_string();
  return {.id = json::value_to<std::string>(call.at("id")),
          .type = json::value_to<std::string>(call.at("type")),
          .name = json::value_to<std::string>(function.at("name")),
          .arguments = function.at("arguments").is_string()
                           ? json::value_to<std::string>(function.at("arguments"))
                           : std::string()};
}

Conversation conversation_of(const json::array& messages) {
  Conversation conversation;
  for (const json::value& value : messages) {
    const json::object& message = value.as_object();
    ChatMessage& out = conversation.messages.emplace_back();
    out.role = role_of(json::value_to<std::string>(message.at("role")));
    const json::value* content = message.if_contains("content");
    out.has_content = content != nullptr && content->is_string();
    if (out.has_content) out.content = json::value_to<std::string>(*content);
    if (const json::value* calls = message.if_contains("tool_calls"))
      for (const json::value& call : calls->as_array())
        out.tool_calls.push_back(call_of(call.as_object(), conversation.representable));
  }
  return conversation;
}

json::value read_json(const std::string& path) { return json::parse(read_text(path)); }

std::map<std::string, json::object> expected_of(const std::string& name) {
  std::map<std::string, json::object> expected;
  const json::value golden = read_json(golden_path("golden/chat/" + name + ".json"));
  for (const json::value& item : golden.as_array())
    expected[json::value_to<std::string>(item.as_object().at("name"))] = item.as_object();
  return expected;
}

class TemplateGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TemplateGolden, every_conversation_renders_exactly) {
  const std::string name = GetParam();
  const std::string path = golden_path("templates/" + name + ".jinja");
  if (path.empty()) GTEST_SKIP() << "the template of " << name << " is not here";
  const auto program = jinja::Template::parse(read_text(path));
  ASSERT_TRUE(program.ok()) << program.error().text();
  auto expected = expected_of(name);
  const json::value conversations = read_json(golden_path("golden/chat/conversations.json"));
  for (const json::value& item : conversations.as_array()) {
    json::object variables = item.as_object();
    const std::string title = json::value_to<std::string>(variables.at("name"));
    ASSERT_TRUE(expected.contains(title)) << title;
    for (const auto& [token, text] : golden_tokens(name)) variables[token] = text;
    const auto values =
        jinja::value_of_json(json::serialize(variables), TextSource::people).value();
    const auto text = (*program)->render(values.dict(), 0);
    ASSERT_EQ(text.ok(), !expected[title].contains("error")) << title;
    if (!text.ok()) continue;
    EXPECT_EQ(text->bytes, json::value_to<std::string>(expected[title].at("text"))) << title;
  }
  EXPECT_EQ(conversations.as_array().size(), 33u);
}

INSTANTIATE_TEST_SUITE_P(templates, TemplateGolden,
                         ::testing::Values("deepseek-v2", "deepseek-v3", "deepseek-r1",
                                           "deepseek-r1-first", "deepseek-r1-distill",
                                           "deepseek-v3.1", "deepseek-v3.1-terminus",
                                           "qwen2.5-instruct", "llama3.1-instruct"),
                         test_name);

class ChatGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(ChatGolden, every_conversation_renders_exactly) {
  const std::string name = GetParam();
  const auto format = golden_chat(name, "deepseek-r1");
  ASSERT_NE(format, nullptr);
  auto expected = expected_of(name);
  const json::value conversations = read_json(golden_path("golden/chat/conversations.json"));
  size_t rendered = 0;
  for (const json::value& item : conversations.as_array()) {
    const json::object& conversation = item.as_object();
    const std::string title = json::value_to<std::string>(conversation.at("name"));
    ASSERT_TRUE(expected.contains(title)) << title;
    const Conversation chat = conversation_of(conversation.at("messages").as_array());
    // V3 renders no calls beside a content, so there even a dict is no error.
    if (!chat.representable && expected[title].contains("error")) continue;
    const auto encoded = format->encode(
        chat.messages,
        {.add_generation_prompt = conversation.at("add_generation_prompt").as_bool()});
    ASSERT_EQ(encoded.ok(), !expected[title].contains("error")) << title;
    if (!encoded.ok()) continue;
    EXPECT_EQ(encoded->text, json::value_to<std::string>(expected[title].at("text"))) << title;
    ++rendered;
  }
  EXPECT_GE(rendered, 30u);
}

INSTANTIATE_TEST_SUITE_P(formats, ChatGolden,
                         ::testing::Values("deepseek-v3", "deepseek-r1", "deepseek-r1-first",
                                           "deepseek-r1-distill"),
                         test_name);

TEST(chat_ids, end_to_end_prompts_have_the_golden_ids) {
  for (const std::string model : {"v3-tiny-bf16", "v3-tiny-mtp"}) {
    const std::string folder = FATHOM_SOURCE_DIR "/tests/golden/data/" + model;
    const auto tokenizer = Tokenizer::load(folder + "/tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
    const auto format = ChatFormat::load(folder + "/tokenizer_config.json", *tokenizer);
    ASSERT_TRUE(format.ok()) << format.error().text();
    const json::value e2e = read_json(folder + "/e2e.json");
    for (const json::value& item : e2e.as_object().at("cases").as_array()) {
      const json::object& one = item.as_object();
      const auto chat =
          (*format)->encode(conversation_of(one.at("messages").as_array()).messages, {});
      ASSERT_TRUE(chat.ok()) << chat.error().text();
      EXPECT_EQ(chat->text, json::value_to<std::string>(one.at("prompt_text")));
      EXPECT_EQ(chat->tokens, json::value_to<std::vector<TokenId>>(one.at("prompt_ids")));
      EXPECT_EQ(
          (*tokenizer)->decode(json::value_to<std::vector<TokenId>>(one.at("greedy_ids")), false),
          json::value_to<std::string>(one.at("text")));
    }
  }
}

}  // namespace
}  // namespace fathom::testing
