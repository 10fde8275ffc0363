// Are calls told apart from text in every form a model writes them, however the output is cut, and
// is nothing lost that only looked like one?
#include <gtest/gtest.h>

#include "tests/unit/text/golden.h"
#include "tests/unit/text/random_text.h"
#include "text/chat_format.h"
#include "text/tool_calls.h"

namespace fathom::testing {
namespace {

struct Parsed {
  std::string text;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  int ended = 0;
  bool operator==(const Parsed&) const = default;
};

// `step` bytes a push; 0: all at once.
Parsed parse(ToolFormat format, const std::string& output, size_t step = 0) {
  ToolCallParser parser(format, {"f", "get_weather", "g"});
  std::vector<AnswerPiece> pieces;
  if (step == 0) step = output.size() + 1;
  for (size_t at = 0; at < output.size(); at += step) parser.push(output.substr(at, step), pieces);
  parser.flush(pieces);
  Parsed out;
  for (const AnswerPiece& piece : pieces) {
    if (piece.kind == AnswerPiece::Kind::text) {
      EXPECT_EQ(output.substr(static_cast<size_t>(piece.at), piece.text.size()), piece.text);
      out.text += piece.text;
    }
    if (piece.kind == AnswerPiece::Kind::call) out.calls.emplace_back(piece.text, "");
    if (piece.kind == AnswerPiece::Kind::arguments)
      out.calls.at(static_cast<size_t>(piece.call)).second += piece.text;
  }
  EXPECT_EQ(parser.certain(), static_cast<int64_t>(output.size()));
  EXPECT_EQ(parser.begun(), static_cast<int>(out.calls.size()));
  out.ended = parser.ended();
  return out;
}

using Calls = std::vector<std::pair<std::string, std::string>>;

struct Example {
  const char* what;
  ToolFormat format;
  std::string output;
  Parsed expected;
};

std::string v3_call(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments +
         "\n```<｜tool▁call▁end｜>";
}
std::string list_of(const std::string& calls) {
  return "<｜tool▁calls▁begin｜>" + calls + "<｜tool▁calls▁end｜>";
}
std::string tagged(const std::string& json) { return "<tool_call>\n" + json + "\n</tool_call>"; }

const std::string kTricky = R"({"a": "}\n```", "b": ["\"]", {"c": "</tool_call>"}], "d": "ü"})";

std::vector<Example> examples() {
  using enum ToolFormat;
  const std::string cut = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n";
  return {
      {"plain text", deepseek_v3, "Hi <｜tool there\n", {"Hi <｜tool there\n", {}, 0}},
      {"one call", deepseek_v3, list_of(v3_call("f", kTricky)), {"", {{"f", kTricky}}, 1}},
      {"text first",
       deepseek_v3,
       "Look.\n\n" + list_of(v3_call("f", "{}")),
       {"Look.", {{"f", "{}"}}, 1}},
      {"two calls",
       deepseek_v3,
       list_of(v3_call("f", "{}") + "\n" + v3_call("g", "[1]")) + "\n",
       {"", {{"f", "{}"}, {"g", "[1]"}}, 2}},
      {"text behind",
       deepseek_v3,
       list_of(v3_call("f", "{}")) + "\nSo.",
       {"\nSo.", {{"f", "{}"}}, 1}},
      {"never closed, as the template writes one call",
       deepseek_v3,
       "<｜tool▁calls▁begin｜>" + v3_call("f", "{}"),
       {"", {{"f", "{}"}}, 1}},
      {"no list around it", deepseek_v3, v3_call("f", "{}"), {"", {{"f", "{}"}}, 1}},
      {"no fence",
       deepseek_v3,
       cut + "{\"a\": 1}<｜tool▁call▁end｜>",
       {"", {{"f", "{\"a\": 1}"}}, 1}},
      {"a fence without a word",
       deepseek_v3,
       cut + "```\n{}\n```<｜tool▁call▁end｜>",
       {"", {{"f", "{}"}}, 1}},
      {"the end of the list closes the call",
       deepseek_v3,
       cut + "```json\n{}\n```<｜tool▁calls▁end｜>",
       {"", {{"f", "{}"}}, 1}},
      {"the end of the answer closes what is whole",
       deepseek_v3,
       cut + "```json\n{}\n```",
       {"", {{"f", "{}"}}, 1}},
      {"cut in its arguments",
       deepseek_v3,
       cut + "```json\n{\"a\": ",
       {"", {{"f", "{\"a\": "}}, 0}},
      {"cut in its name",
       deepseek_v3,
       cut.substr(0, cut.size() - 1),
       {cut.substr(0, cut.size() - 1), {}, 0}},
      {"no JSON", deepseek_v3, list_of(v3_call("f", "a = 1")), {"", {{"f", "a = 1"}}, 1}},
      {"no arguments at all", deepseek_v3, list_of(v3_call("f", "")), {"", {{"f", ""}}, 1}},
      {"a list of nothing",
       deepseek_v3,
       "<｜tool▁calls▁begin｜> no",
       {"<｜tool▁calls▁begin｜> no", {}, 0}},
      {"a call without a name",
       deepseek_v3,
       list_of(v3_call("", "{}")),
       {list_of(v3_call("", "{}")), {}, 0}},
      {"V3.1",
       deepseek_v31,
       list_of("<｜tool▁call▁begin｜>f<｜tool▁sep｜>" + kTricky +
               "<｜tool▁call▁end｜>"
               "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>"),
       {"", {{"f", kTricky}, {"g", "{}"}}, 2}},
      {"Hermes",
       hermes,
       "Look.\n" + tagged(R"({"name": "f", "arguments": )" + kTricky + "}"),
       {"Look.", {{"f", kTricky}}, 1}},
      {"two of Hermes",
       hermes,
       tagged(R"({"name": "f", "arguments": {}})") + "\n" +
           tagged(R"({"name":"g","arguments":{"x":1}})"),
       {"", {{"f", "{}"}, {"g", R"({"x":1})"}}, 2}},
      {"another order",
       hermes,
       tagged(R"({"arguments": {"x":1}, "name": "f"})"),
       {"", {{"f", R"({"x":1})"}}, 1}},
      {"arguments as a string",
       hermes,
       tagged(R"({"name": "f", "arguments": "{\"x\": 1}"})"),
       {"", {{"f", R"({"x": 1})"}}, 1}},
      {"not closed",
       hermes,
       "<tool_call>\n"
       R"({"name": "f", "arguments": {}})",
       {"", {{"f", "{}"}}, 1}},
      {"a brace too few",
       hermes,
       tagged(R"({"name": "f", "arguments": {})"),
       {"", {{"f", "{}"}}, 1}},
      {"single quotes", hermes, tagged("{'name': 'f'}"), {tagged("{'name': 'f'}"), {}, 0}},
      {"a tag in a text", hermes, "The <tool_call> tag.", {"The <tool_call> tag.", {}, 0}},
      {"Llama",
       llama,
       R"({"name": "f", "parameters": )" + kTricky + "}",
       {"", {{"f", kTricky}}, 1}},
      {"Llama with a tag",
       llama,
       R"(<|python_tag|>{"type": "function", "name": "f", "parameters": {}})",
       {"", {{"f", "{}"}}, 1}},
      {"two of Llama",
       llama,
       R"({"name": "f", "parameters": {}}; {"name": "g", "parameters": {}})",
       {"", {{"f", "{}"}, {"g", "{}"}}, 2}},
      {"a name nobody gave",
       llama,
       R"({"name": "Bob", "parameters": {}})",
       {R"({"name": "Bob", "parameters": {}})", {}, 0}},
      {"other JSON", llama, R"({"name": "f", "age": 3})", {R"({"name": "f", "age": 3})", {}, 0}},
      {"text of Llama",
       llama,
       "I say {\"name\": \"f\", \"parameters\": {}}",
       {"I say {\"name\": \"f\", \"parameters\": {}}", {}, 0}},
      {"no format", none, list_of(v3_call("f", "{}")), {list_of(v3_call("f", "{}")), {}, 0}},
  };
}

TEST(tool_calls, every_form_is_read_cut_at_every_byte) {
  for (const Example& one : examples()) {
    const Parsed whole = parse(one.format, one.output);
    EXPECT_EQ(whole.text, one.expected.text) << one.what;
    EXPECT_EQ(whole.calls, one.expected.calls) << one.what;
    EXPECT_EQ(whole.ended, one.expected.ended) << one.what;
    for (const size_t step : {1u, 2u, 3u, 7u, 16u})
      EXPECT_EQ(parse(one.format, one.output, step), whole) << one.what << ", cut by " << step;
  }
}

TEST(tool_calls, an_output_cut_short_at_any_byte_loses_no_text_and_invents_no_call) {
  for (const Example& one : examples()) {
    const Parsed all = parse(one.format, one.output);
    for (size_t size = 0; size < one.output.size(); ++size) {
      const Parsed part = parse(one.format, one.output.substr(0, size));
      ASSERT_LE(part.calls.size(), all.calls.size() + 1) << one.what;
      ASSERT_LE(part.ended, static_cast<int>(part.calls.size())) << one.what;
      for (size_t i = 0; i < std::min(part.calls.size(), all.calls.size()); ++i)
        EXPECT_EQ(part.calls[i].first, all.calls[i].first) << one.what;
      if (part.calls.empty()) {
        EXPECT_EQ(part.text, one.output.substr(0, size)) << one.what;
      }
    }
  }
}

TEST(tool_calls, any_mixture_of_markers_is_the_same_however_it_is_cut) {
  static constexpr std::string_view kParts[] = {"<｜tool▁calls▁begin｜>",
                                                "<｜tool▁calls▁end｜>",
                                                "<｜tool▁call▁begin｜>",
                                                "<｜tool▁call▁end｜>",
                                                "<｜tool▁sep｜>",
                                                "function",
                                                "f",
                                                "\n```json\n",
                                                "\n```",
                                                "{}",
                                                "{\"a\": [1, \"}\"]}",
                                                "<tool_call>",
                                                "</tool_call>",
                                                "{\"name\": \"f\", ",
                                                "\"arguments\": {",
                                                "\"parameters\": {",
                                                "}",
                                                "\n",
                                                "<｜",
                                                "<tool",
                                                "`"};
  RandomText random(17);
  for (int i = 0; i < 4000; ++i) {
    std::string output;
    for (size_t count = random.below(14); count > 0; --count)
      output += kParts[random.below(std::size(kParts))];
    for (const ToolFormat format : {ToolFormat::deepseek_v3, ToolFormat::deepseek_v31,
                                    ToolFormat::hermes, ToolFormat::llama}) {
      const Parsed whole = parse(format, output);
      for (const size_t step : {1u, 5u})
        ASSERT_EQ(parse(format, output, step), whole) << output << ", cut by " << step;
      if (whole.calls.empty()) {
        ASSERT_EQ(whole.text, output);
      }
    }
  }
}

TEST(tool_calls, arguments_are_shown_while_they_come) {
  ToolCallParser parser(ToolFormat::deepseek_v3, {});
  std::vector<AnswerPiece> pieces;
  parser.push("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n",
              pieces);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].text, "f");
  parser.push("{\"a\": ", pieces);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[1].text, "{\"a\":");  // white space may belong to the end
}

TEST(tool_calls, the_format_is_what_the_published_template_writes) {
  const auto of = [](const std::string& name) {
    return golden_chat(name, "deepseek-r1")->tool_format();
  };
  EXPECT_EQ(of("qwen2.5-instruct"), ToolFormat::hermes);
  for (const char* shows_none : {"deepseek-v2"}) EXPECT_EQ(of(shows_none), ToolFormat::none);
}

TEST(tool_calls, llama_writes_its_calls_as_the_whole_answer) {
  const std::string path = golden_path("templates/llama3.1-instruct.jinja");
  if (path.empty()) GTEST_SKIP() << "the template of Llama 3.1 is not here";
  EXPECT_EQ(golden_chat("llama3.1-instruct", "deepseek-r1")->tool_format(), ToolFormat::llama);
}

}  // namespace
}  // namespace fathom::testing
