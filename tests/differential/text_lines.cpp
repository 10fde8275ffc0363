// What do our chat templates and tokenizers make of this? One JSON object a line on standard input,
// one on standard output, so that a Python test can ask the same of the libraries everyone uses.
//   {"template", "variables", "now"} -> {"text", "typed"} or {"error", "at_load"}
//   {"tokenizer": path, "texts": [...]} -> {"ids": [...], "decoded": [...]} or {"error"}
#include <boost/json.hpp>
#include <iostream>
#include <string>

#include "text/jinja/template.h"
#include "text/tokenizer.h"

namespace {

namespace json = boost::json;
using namespace fathom;

std::string_view view(const json::value& text) {
  return {text.as_string().data(), text.as_string().size()};
}

json::object failure(const Error& error, bool at_load) {
  return {{"error", error.text()}, {"at_load", at_load}};
}

json::object render(const json::object& asked) {
  const auto parsed = jinja::Template::parse(view(asked.at("template")));
  if (!parsed.ok()) return failure(parsed.error(), true);
  const auto variables =
      jinja::value_of_json(json::serialize(asked.at("variables")), TextSource::people);
  const auto text =
      (*parsed)->render(variables->dict(), asked.contains("now") ? asked.at("now").as_int64() : 0);
  if (!text.ok()) return failure(text.error(), false);
  json::array typed;
  for (const TypedSpan& span : text->typed) typed.push_back({span.begin, span.end});
  return {{"text", text->bytes}, {"typed", std::move(typed)}};
}

json::object encode(const json::object& asked) {
  const auto tokenizer = Tokenizer::load(std::string(view(asked.at("tokenizer"))));
  if (!tokenizer.ok()) return failure(tokenizer.error(), true);
  json::array ids, decoded;
  for (const json::value& text : asked.at("texts").as_array()) {
    std::vector<TokenId> one;
    (*tokenizer)->encode(view(text), Specials::parse, one);
    ids.push_back(json::value_from(one));
    decoded.emplace_back((*tokenizer)->decode(one, false));
  }
  return {{"ids", std::move(ids)}, {"decoded", std::move(decoded)}};
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const json::value asked = json::parse(line);
    const json::object& object = asked.as_object();
    std::cout << json::serialize(object.contains("template") ? render(object) : encode(object))
              << "\n"
              << std::flush;
  }
  return 0;
}
