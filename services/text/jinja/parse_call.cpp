// What is called, and with what? Arguments are put into the order of the builtin's parameters here,
// so that a call with one too many, or one that nobody knows, is found when the template is loaded.
#include <algorithm>
#include <array>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace fathom::jinja {
namespace {

// The position of `name` among "a,b,c"; -1 if it is not there.
int position_of(std::string_view parameters, std::string_view name) {
  int position = 0;
  while (true) {
    const size_t comma = std::min(parameters.find(','), parameters.size());
    if (parameters.substr(0, comma) == name) return position;
    if (comma == parameters.size()) return -1;
    parameters.remove_prefix(comma + 1);
    ++position;
  }
}

std::string argument_name(std::string_view argument, const Builtin& builtin) {
  std::string text = "the argument '";
  text.append(argument).append("' of '").append(builtin.name).append("'");
  return text;
}

}  // namespace

Parser::CallArguments Parser::call_arguments() {
  CallArguments given;
  need_symbol("(");
  while (!failed() && !now().is_symbol(")")) {
    if (now().is_symbol("*") || now().is_symbol("**")) refuse("'*' in a call");
    if (now().kind == Token::Kind::name && ahead(1).is_symbol("=")) {
      std::string name = take().text;
      take();
      given.named.emplace_back(std::move(name), expression());
    } else {
      if (!given.named.empty()) fail("a positional argument behind a named one");
      given.positional.push_back(expression());
    }
    if (!take_symbol(",")) break;
  }
  need_symbol(")");
  return given;
}

void Parser::bind_open(const Builtin& builtin, Expr& call, CallArguments given) {
  const bool fields = builtin.parameters.starts_with("**");
  const size_t slots = parameter_count(builtin);
  if (fields) {
    if (given.positional.size() > 1) fail(std::string(builtin.name) + " takes one argument");
    call.args.push_back(given.positional.empty() ? absent() : std::move(given.positional[0]));
    for (auto& [name, value] : given.named) {
      Expr key = make(Expr::Kind::literal);
      key.literal = Value::trusted(name);
      call.args.push_back(std::move(key));
      call.args.push_back(std::move(value));
    }
    return;
  }
  const size_t first = call.args.size();
  call.args.resize(first + slots, absent());
  for (auto& [name, value] : given.named) {
    const int position = slots == 0 ? -1 : position_of(builtin.parameters, name) - 1;
    if (position < 0) {
      refuse(argument_name(name, builtin));
      return;
    }
    call.args[first + static_cast<size_t>(position)] = std::move(value);
  }
  for (Expr& value : given.positional) call.args.push_back(std::move(value));
}

Expr Parser::bind(Expr::Kind kind, const Builtin& builtin, std::vector<Expr> args,
                  CallArguments given) {
  Expr call = make(kind);
  call.builtin = &builtin;
  call.text = builtin.name;
  const size_t first = args.size();
  call.args = std::move(args);
  const std::string name(builtin.name);
  if (builtin.parameters.starts_with('*')) {
    if (given.positional.size() < static_cast<size_t>(builtin.required))
      fail("'" + name + "' needs an argument");
    bind_open(builtin, call, std::move(given));
  } else {
    const size_t slots = parameter_count(builtin);
    if (given.positional.size() > slots) fail("too many arguments for '" + name + "'");
    if (failed()) return {};
    call.args.resize(first + slots, absent());
    for (size_t i = 0; i < given.positional.size(); ++i)
      call.args[first + i] = std::move(given.positional[i]);
    for (auto& [key, value] : given.named) {
      const int position = slots == 0 ? -1 : position_of(builtin.parameters, key);
      if (position < 0) {
        refuse(argument_name(key, builtin));
        return {};
      }
      call.args[first + static_cast<size_t>(position)] = std::move(value);
    }
    for (size_t i = 0; i < static_cast<size_t>(builtin.required); ++i)
      if (call.args[first + i].literal.is(Kind::absent)) fail("'" + name + "' needs an argument");
  }
  for (const Expr& arg : call.args) call.depth = std::max(call.depth, arg.depth + 1);
  if (call.depth > kDeepestTree) fail("an expression is too long");
  return call;
}

// map('upper'), select('odd') and their kin name what they apply.
void Parser::check_named_choice(std::string_view filter, const CallArguments& given) {
  const bool attribute = filter == "selectattr" || filter == "rejectattr";
  const bool choice = attribute || filter == "select" || filter == "reject";
  const size_t at = attribute ? 1 : 0;
  if ((!choice && filter != "map") || given.positional.size() <= at) return;
  const Value& named = given.positional[at].literal;
  if (!named.is(Kind::text)) return;
  const std::string name(named.bytes());
  if (choice && find_test(name) == nullptr) refuse("the test '" + name + "'");
  if (!choice && find_filter(name) == nullptr) refuse("the filter '" + name + "'");
}

Expr Parser::filter(Expr subject) {
  const std::string name = need_name();
  const Builtin* builtin = failed() ? nullptr : find_filter(name);
  if (builtin == nullptr) {
    refuse("the filter '" + name + "'");
    return {};
  }
  CallArguments given;
  if (now().is_symbol("(")) given = call_arguments();
  check_named_choice(name, given);
  std::vector<Expr> args;
  args.push_back(std::move(subject));
  return bind(Expr::Kind::filter, *builtin, std::move(args), std::move(given));
}

Expr Parser::method(Expr callee, CallArguments given) {
  static constexpr std::array<std::string_view, 12> kChanging = {
      "append", "extend", "insert",  "pop",        "remove", "clear",
      "sort",   "update", "popitem", "setdefault", "add",    "discard"};
  const std::string name = callee.text;
  const Builtin* of_text = find_text_method(name);
  const Builtin* of_dict = find_dict_method(name);
  const Builtin* of_list = find_list_method(name);
  const Builtin* of_loop = find_loop_method(name);
  const Builtin* known = of_text ? of_text : of_dict ? of_dict : of_list ? of_list : of_loop;
  if (std::ranges::find(kChanging, name) != kChanging.end()) {
    refuse("the method '" + name + "', which changes a value,");
    return {};
  }
  if (known == nullptr) {
    refuse("the method '" + name + "'");
    return {};
  }
  // Methods of one name share their parameters as far as they go: the longest list binds.
  for (const Builtin* other : {of_dict, of_list, of_loop})
    if (other != nullptr && parameter_count(*other) > parameter_count(*known)) known = other;
  Expr call = bind(Expr::Kind::method, *known, std::move(callee.args), std::move(given));
  call.builtin = of_text != nullptr ? of_text : of_loop;
  call.dict_method = of_dict;
  call.list_method = of_list;
  return call;
}

Expr Parser::call(Expr callee) {
  CallArguments given = call_arguments();
  if (failed()) return {};
  if (callee.kind == Expr::Kind::attribute) return method(std::move(callee), std::move(given));
  if (callee.kind != Expr::Kind::name) {
    refuse("a call of something without a name");
    return {};
  }
  if (const Builtin* builtin = find_function(callee.text))
    return bind(Expr::Kind::function, *builtin, {}, std::move(given));
  called_.emplace_back(callee.text, callee.line);
  std::vector<Expr> args = std::move(given.positional);
  std::vector<std::string> named;
  for (auto& [name, value] : given.named) {
    named.push_back(name);
    args.push_back(std::move(value));
  }
  Expr call =
      make(callee.text == "caller" ? Expr::Kind::caller : Expr::Kind::macro, std::move(args));
  call.name = callee.name;
  call.text = callee.text;
  if (!failed()) call.named = std::move(named);
  return call;
}

}  // namespace fathom::jinja
