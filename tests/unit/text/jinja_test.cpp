// What does the interpreter promise beside what jinja2 does? Refusals name line and construct when
// a template is loaded, hostile templates end at a limit, and typed text keeps its marks. What
// templates render is compared with jinja2 itself in tests/differential.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/jinja/template.h"

namespace fathom::jinja {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Error refused(std::string_view source) {
  const auto program = Template::parse(source);
  EXPECT_FALSE(program.ok()) << source;
  return program.ok() ? Error{} : program.error();
}

Result<MarkedText> rendered(std::string_view source, std::string_view variables = "{}",
                            const Limits& limits = {}) {
  FATHOM_TRY(const auto program, Template::parse(source));
  return program->render(value_of_json(variables, TextSource::people)->dict(), 0, limits);
}

TEST(jinja, an_unsupported_construct_is_refused_at_load_with_its_line) {
  for (const auto& [source, construct] : std::vector<std::pair<std::string, std::string>>{
           {"{% include 'x' %}", "statement 'include'"},
           {"{% extends 'x' %}", "statement 'extends'"},
           {"{% do x %}", "statement 'do'"},
           {"{{ x|urlize }}", "filter 'urlize'"},
           {"{{ x is escaped }}", "test 'escaped'"},
           {"{{ lipsum() }}", "function 'lipsum'"},
           {"{{ x.encode() }}", "method 'encode'"},
           {"{{ x.append(1) }}", "method 'append'"},
           {"{{ x|map('nope') }}", "filter 'nope'"},
           {"{{ x|select('nope') }}", "test 'nope'"},
           {"{{ x|tojson(depth=1) }}", "'depth'"},
           {"{% for a in b recursive %}", "recursive"},
           {"{{ dict(*x) }}", "'*' in a call"}}) {
    const Error error = refused("one\n\n" + source);
    EXPECT_EQ(error.code, Code::unimplemented) << source << error.message;
    EXPECT_THAT(error.message, HasSubstr(construct));
    EXPECT_EQ(error.field, "line 3");
  }
}

TEST(jinja, what_is_no_jinja_is_refused_with_its_line) {
  for (const char* source : {"{{", "{{ 1 +", "{% if x %}", "{% endif %}", "{# x", "{{ 'x }}",
                             "{{ a b }}", "{% for %}", "{{ [1, }}", "{{ (1 }}", "{{ x. }}",
                             "{{ 99999999999999999999 }}", "{{ 'a\\ud800' }}", "{% break %}"}) {
    const Error error = refused(std::string("\n") + source);
    EXPECT_EQ(error.code, Code::invalid_argument) << source;
    EXPECT_THAT(error.field, HasSubstr("line ")) << source;
  }
}

TEST(jinja, deep_templates_are_refused_and_deep_evaluation_ends) {
  const auto times = [](std::string_view text, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
  };
  constexpr int kMany = 100000;
  EXPECT_EQ(refused("{{ " + times("(", kMany)).code, Code::invalid_argument);
  EXPECT_EQ(refused("{{ " + times("[", kMany)).code, Code::invalid_argument);
  EXPECT_EQ(refused("{{ " + times("-", kMany) + "1 }}").code, Code::invalid_argument);
  EXPECT_EQ(refused("{{ " + times("not ", kMany) + "1 }}").code, Code::invalid_argument);
  EXPECT_EQ(refused("{{ 1" + times("+1", kMany) + " }}").code, Code::invalid_argument);
  EXPECT_EQ(refused("{{ x" + times(".a", kMany) + " }}").code, Code::invalid_argument);
  EXPECT_EQ(refused("{{ x" + times("|upper", kMany) + " }}").code, Code::invalid_argument);
  EXPECT_EQ(refused(times("{% if 1 %}", kMany)).code, Code::invalid_argument);
  EXPECT_TRUE(rendered("{{ 'a'" + times(" ~ 'a'", kMany) + " }}").ok());
  EXPECT_THAT(rendered("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").error().message,
              HasSubstr("nested too deeply"));
  EXPECT_THAT(rendered("{% set n = namespace(x=[]) %}{% for i in range(1000) %}"
                       "{% set n.x = [n.x] %}{% endfor %}")
                  .error()
                  .message,
              HasSubstr("nested too deeply"));
}

TEST(jinja, hostile_templates_end_at_a_limit) {
  const Limits small{.steps = 100'000, .bytes = 1 << 20};
  for (const char* source :
       {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaa' }}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor "
        "%}",
        "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor "
        "%}"
        "{{ n.x }}",
        "{{ 'a' * 999999999 }}", "{{ [1] * 999999999 }}", "{{ range(999999)|list }}",
        "{{ ('a' * 9999).replace('', 'b' * 999) }}", "{{ ('a' * 999)|list|join('b' * 9999) }}"}) {
    const auto text = rendered(source, "{}", small);
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(text.error().code, Code::invalid_argument);
  }
}

TEST(jinja, a_failure_names_its_line_and_an_exception_is_the_templates_own) {
  EXPECT_EQ(rendered("\n\n{{ none + 'a' }}").error().message,
            "the chat template failed in line 3: unsupported operand types for +: 'NoneType' and "
            "'str'");
  EXPECT_EQ(rendered("{{ x.y }}").error().message,
            "the chat template failed in line 1: 'x' is undefined");
  EXPECT_EQ(rendered("{{ raise_exception('no ' ~ 1) }}").error().message, "no 1");
}

TEST(jinja, typed_text_is_marked_wherever_it_ends_up) {
  const auto spans = [](std::string_view source) {
    std::vector<std::string> typed;
    const MarkedText text = rendered(source, R"({"x": "ab cd", "d": {"k": "v"}})").value();
    for (const TypedSpan& span : text.typed)
      typed.push_back(text.bytes.substr(span.begin, span.end - span.begin));
    return typed;
  };
  EXPECT_THAT(spans("<{{ x }}>"), ElementsAre("ab cd"));
  EXPECT_THAT(spans("{{ '<' + x[1:-1] ~ '>' }}"), ElementsAre("b c"));
  EXPECT_THAT(spans("{{ x.split()|join('+') }}"), ElementsAre("ab", "cd"));
  EXPECT_THAT(spans("{{ x|replace(' ', '-') }}"), ElementsAre("ab", "cd"));
  EXPECT_THAT(spans("{{ x|upper }}!"), ElementsAre("AB CD"));
  EXPECT_THAT(spans("{{ d|tojson }}"), ElementsAre("k", "v"));
  EXPECT_THAT(spans("{{ d }}"), ElementsAre("k", "v"));
  EXPECT_THAT(spans("{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}"),
              ElementsAre("k", "v"));
  EXPECT_THAT(spans("{{ 'x' }}{{ x|length }}{{ x == 'ab cd' }}"), ElementsAre());
}

TEST(jinja, broken_utf8_in_variables_is_repaired) {
  const auto program = Template::parse("{{ x|length }}{{ x }}").value();
  Dict variables;
  variables.set(Value::trusted("x"), text_value("a\xff\xe4\xb8", TextSource::people));
  EXPECT_EQ(program->render(variables, 0)->bytes, "3a\uFFFD\uFFFD");
}

}  // namespace
}  // namespace fathom::jinja
