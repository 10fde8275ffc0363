#include "text/jinja/template.h"

#include <boost/json.hpp>

#include "text/jinja/evaluator.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace fathom::jinja {

namespace json = boost::json;

Template::Template(Program program)
    : program_(std::make_unique<const Program>(std::move(program))) {}
Template::~Template() = default;

Result<std::shared_ptr<const Template>> Template::parse(std::string_view source) {
  FATHOM_TRY(std::vector<Token> tokens, lex(source));
  FATHOM_TRY(Program program, Parser(std::move(tokens)).run());
  return std::shared_ptr<const Template>(new Template(std::move(program)));
}

Result<MarkedText> Template::render(const Dict& variables, int64_t unix_seconds,
                                    const Limits& limits) const {
  Runtime runtime(limits, unix_seconds);
  MarkedText text = Evaluator(*program_, runtime).run(variables);
  if (runtime.failed()) return runtime.error();
  return text;
}

Value text_value(std::string_view text, TextSource source) {
  if (is_valid_utf8(text)) return MarkedText::typed_by(text, source);
  std::string repaired;
  append_utf8(text, true, repaired);
  return MarkedText::typed_by(repaired, source);
}

namespace {

Value converted(const json::value& value, TextSource source) {
  switch (value.kind()) {
    case json::kind::null:
      return Value::none();
    case json::kind::bool_:
      return value.get_bool();
    case json::kind::int64:
      return value.get_int64();
    case json::kind::uint64:
      return static_cast<double>(value.get_uint64());
    case json::kind::double_:
      return value.get_double();
    case json::kind::string:
      return text_value({value.get_string().data(), value.get_string().size()}, source);
    case json::kind::array: {
      auto list = std::make_shared<List>();
      for (const json::value& item : value.get_array()) {
        list->items.push_back(converted(item, source));
        list->depth = std::max(list->depth, list->items.back().depth() + 1);
        list->weight += list->items.back().weight();
      }
      return ListPtr(std::move(list));
    }
    case json::kind::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& member : value.get_object())
        dict->set(text_value({member.key().data(), member.key().size()}, source),
                  converted(member.value(), source));
      return DictPtr(std::move(dict));
    }
  }
  return Value::none();
}

}  // namespace

Result<Value> value_of_json(std::string_view text, TextSource source) {
  json::error_code error;
  const json::value value = json::parse({text.data(), text.size()}, error);
  if (error) return invalid("not JSON: " + error.message());
  return converted(value, source);
}

}  // namespace fathom::jinja
