#include <charconv>

#include "text/jinja/builtins.h"
#include "text/jinja/parse_level.h"
#include "text/jinja/parser.h"

namespace fathom::jinja {

Expr Parser::absent() {
  Expr e;
  e.literal = Value::absent();
  return e;
}

Expr Parser::make(Expr::Kind kind, std::vector<Expr> args) {
  Expr e;
  e.kind = kind;
  e.line = now().line;
  for (const Expr& arg : args) e.depth = std::max(e.depth, arg.depth + 1);
  if (e.depth > kDeepestTree) fail("an expression is too long");
  // A tree that is too deep is not built further: it must still be destroyed.
  if (!failed()) e.args = std::move(args);
  return e;
}

Expr Parser::expression() {
  const Level level(*this);
  return level.fits() ? conditional() : Expr();
}

Expr Parser::conditional() {
  Expr value = logical_or();
  while (!failed() && take_name("if")) {
    Expr condition = logical_or();
    Expr otherwise;
    if (take_name("else")) otherwise = expression();
    std::vector<Expr> args;
    args.push_back(std::move(value));
    args.push_back(std::move(condition));
    args.push_back(std::move(otherwise));
    value = make(Expr::Kind::conditional, std::move(args));
  }
  return value;
}

namespace {

std::vector<Expr> pair(Expr a, Expr b) {
  std::vector<Expr> args;
  args.push_back(std::move(a));
  args.push_back(std::move(b));
  return args;
}

std::vector<Expr> single(Expr a) {
  std::vector<Expr> args;
  args.push_back(std::move(a));
  return args;
}

}  // namespace

Expr Parser::logical_or() {
  Expr left = logical_and();
  while (!failed() && take_name("or"))
    left = make(Expr::Kind::logical_or, pair(std::move(left), logical_and()));
  return left;
}

Expr Parser::logical_and() {
  Expr left = logical_not();
  while (!failed() && take_name("and"))
    left = make(Expr::Kind::logical_and, pair(std::move(left), logical_not()));
  return left;
}

Expr Parser::logical_not() {
  if (!take_name("not")) return comparison();
  const Level level(*this);
  if (!level.fits()) return {};
  return make(Expr::Kind::logical_not, single(logical_not()));
}

bool Parser::compare_sign(Expr::Compare& out) {
  static constexpr std::pair<std::string_view, Expr::Compare> kSigns[] = {
      {"==", Expr::Compare::eq}, {"!=", Expr::Compare::ne}, {"<", Expr::Compare::lt},
      {"<=", Expr::Compare::le}, {">", Expr::Compare::gt},  {">=", Expr::Compare::ge}};
  for (const auto& [sign, compare] : kSigns)
    if (take_symbol(sign)) {
      out = compare;
      return true;
    }
  if (take_name("in")) {
    out = Expr::Compare::in;
    return true;
  }
  if (now().is_name("not") && ahead(1).is_name("in")) {
    take();
    take();
    out = Expr::Compare::not_in;
    return true;
  }
  return false;
}

Expr Parser::comparison() {
  Expr first = sum();
  std::vector<Expr> args;
  std::vector<Expr::Compare> compares;
  Expr::Compare compare{};
  while (!failed() && compare_sign(compare)) {
    compares.push_back(compare);
    args.push_back(sum());
  }
  if (compares.empty()) return first;
  args.insert(args.begin(), std::move(first));
  Expr e = make(Expr::Kind::compare, std::move(args));
  e.compares = std::move(compares);
  return e;
}

Expr Parser::sum() {
  Expr left = concatenation();
  while (!failed() && (now().is_symbol("+") || now().is_symbol("-"))) {
    const std::string sign = take().text;
    left = make(Expr::Kind::arithmetic, pair(std::move(left), concatenation()));
    left.text = sign;
  }
  return left;
}

Expr Parser::concatenation() {
  Expr first = product();
  if (!now().is_symbol("~")) return first;
  std::vector<Expr> args = single(std::move(first));
  while (!failed() && take_symbol("~")) args.push_back(product());
  return make(Expr::Kind::concat, std::move(args));
}

Expr Parser::product() {
  Expr left = power();
  while (!failed() && (now().is_symbol("*") || now().is_symbol("/") || now().is_symbol("//") ||
                       now().is_symbol("%"))) {
    const std::string sign = take().text;
    left = make(Expr::Kind::arithmetic, pair(std::move(left), power()));
    left.text = sign;
  }
  return left;
}

Expr Parser::power() {
  Expr left = unary(true);
  while (!failed() && take_symbol("**")) {
    left = make(Expr::Kind::arithmetic, pair(std::move(left), unary(true)));
    left.text = "**";
  }
  return left;
}

Expr Parser::unary(bool with_filters) {
  const Level level(*this);
  if (!level.fits()) return {};
  Expr e;
  if (now().is_symbol("-") || now().is_symbol("+")) {
    const bool minus = take().text == "-";
    e = make(minus ? Expr::Kind::negate : Expr::Kind::plus, single(unary(false)));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filters ? filters(std::move(e)) : e;
}

Expr Parser::primary() {
  const Token& token = now();
  if (token.kind == Token::Kind::name) return name();
  if (token.kind == Token::Kind::integer || token.kind == Token::Kind::real) return number();
  if (token.kind == Token::Kind::text) {
    Expr e = make(Expr::Kind::literal);
    std::string text;
    while (now().kind == Token::Kind::text) text += take().text;
    e.literal = MarkedText{.bytes = std::move(text)};
    return e;
  }
  if (token.is_symbol("(")) return parentheses();
  if (token.is_symbol("[")) return list();
  if (token.is_symbol("{")) return dict();
  fail("unexpected " + found());
  return {};
}

Expr Parser::number() {
  Expr e = make(Expr::Kind::literal);
  const Token token = take();
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == Token::Kind::real) {
    double value = 0;
    if (std::from_chars(begin, end, value).ptr != end) fail("a number is malformed");
    e.literal = value;
  } else {
    int64_t value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc()) fail("a number is too large");
    e.literal = value;
  }
  return e;
}

Expr Parser::name() {
  Expr e = make(Expr::Kind::literal);
  const std::string text = take().text;
  if (text == "true" || text == "True") {
    e.literal = true;
  } else if (text == "false" || text == "False") {
    e.literal = false;
  } else if (text == "none" || text == "None") {
    e.literal = Value::none();
  } else {
    e.kind = Expr::Kind::name;
    e.name = name_id(text);
    e.text = text;
  }
  return e;
}

Expr Parser::parentheses() {
  need_symbol("(");
  std::vector<Expr> items;
  bool tuple = now().is_symbol(")");
  while (!failed() && !now().is_symbol(")")) {
    items.push_back(expression());
    if (!take_symbol(",")) break;
    tuple = true;
  }
  need_symbol(")");
  if (!tuple && !items.empty()) return std::move(items.front());
  return make(Expr::Kind::tuple, std::move(items));
}

Expr Parser::list() {
  need_symbol("[");
  std::vector<Expr> items;
  while (!failed() && !now().is_symbol("]")) {
    items.push_back(expression());
    if (!take_symbol(",")) break;
  }
  need_symbol("]");
  return make(Expr::Kind::list, std::move(items));
}

Expr Parser::dict() {
  need_symbol("{");
  std::vector<Expr> items;
  while (!failed() && !now().is_symbol("}")) {
    items.push_back(expression());
    need_symbol(":");
    items.push_back(expression());
    if (!take_symbol(",")) break;
  }
  need_symbol("}");
  return make(Expr::Kind::dict, std::move(items));
}

Expr Parser::postfix(Expr object) {
  while (!failed()) {
    if (take_symbol(".")) {
      const Token part = take();
      if (part.kind == Token::Kind::name) {
        object = make(Expr::Kind::attribute, single(std::move(object)));
        object.text = part.text;
      } else if (part.kind == Token::Kind::integer) {
        --at_;
        Expr key = number();
        object = make(Expr::Kind::item, pair(std::move(object), std::move(key)));
      } else {
        fail("a name must follow '.'");
      }
    } else if (now().is_symbol("[")) {
      object = subscript(std::move(object));
    } else if (now().is_symbol("(")) {
      object = call(std::move(object));
    } else {
      break;
    }
  }
  return object;
}

Expr Parser::subscript(Expr object) {
  need_symbol("[");
  std::vector<Expr> bounds;
  bool slice = false;
  const auto part = [&] {
    const bool open = now().is_symbol(":") || now().is_symbol("]");
    bounds.push_back(open ? absent() : expression());
  };
  part();
  while (!failed() && bounds.size() < 3 && take_symbol(":")) {
    slice = true;
    part();
  }
  if (now().is_symbol(",")) refuse("a tuple as a subscript");
  need_symbol("]");
  if (!slice && bounds.front().literal.is(Kind::absent)) fail("an empty subscript");
  if (!slice) return make(Expr::Kind::item, pair(std::move(object), std::move(bounds.front())));
  bounds.resize(3, absent());
  bounds.insert(bounds.begin(), std::move(object));
  return make(Expr::Kind::slice, std::move(bounds));
}

Expr Parser::filters(Expr subject) {
  while (!failed()) {
    if (take_symbol("|")) {
      subject = filter(std::move(subject));
    } else if (take_name("is")) {
      subject = test(std::move(subject));
    } else if (now().is_symbol("(")) {
      subject = call(std::move(subject));
    } else {
      break;
    }
  }
  return subject;
}

Expr Parser::test(Expr subject) {
  const bool negated = take_name("not");
  Expr e = test_call(std::move(subject));
  e.negated = negated;
  return e;
}

Expr Parser::test_call(Expr subject) {
  const std::string name = need_name();
  const Builtin* builtin = failed() ? nullptr : find_test(name);
  if (builtin == nullptr) {
    refuse("the test '" + name + "'");
    return {};
  }
  CallArguments given;
  const Token& next = now();
  const bool word = next.kind == Token::Kind::name && next.text != "else" && next.text != "or" &&
                    next.text != "and" && next.text != "if" && next.text != "is" &&
                    next.text != "in" && next.text != "not" && next.text != "recursive";
  if (next.is_symbol("("))
    given = call_arguments();
  else if (word || next.kind == Token::Kind::text || next.kind == Token::Kind::integer ||
           next.kind == Token::Kind::real || next.is_symbol("[") || next.is_symbol("{"))
    given.positional.push_back(postfix(primary()));
  return bind(Expr::Kind::test, *builtin, single(std::move(subject)), std::move(given));
}

}  // namespace fathom::jinja
