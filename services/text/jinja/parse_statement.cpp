#include "text/jinja/builtins.h"
#include "text/jinja/parse_level.h"
#include "text/jinja/parser.h"

namespace fathom::jinja {

const Token& Parser::ahead(size_t count) const {
  return tokens_[std::min(at_ + count, tokens_.size() - 1)];
}

Token Parser::take() {
  Token token = now();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::take_symbol(std::string_view symbol) {
  if (!now().is_symbol(symbol)) return false;
  take();
  return true;
}

bool Parser::take_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  take();
  return true;
}

std::string Parser::found() const {
  if (now().kind == Token::Kind::end) return "end of the template";
  if (now().kind == Token::Kind::block_end || now().kind == Token::Kind::output_end)
    return "end of the tag";
  return "'" + now().text.substr(0, 40) + "'";
}

void Parser::need_symbol(std::string_view symbol) {
  if (!take_symbol(symbol)) fail("expected '" + std::string(symbol) + "', found " + found());
}

void Parser::need(Token::Kind kind, const char* what) {
  if (now().kind != kind) return fail(std::string("expected ") + what + ", found " + found());
  take();
}

std::string Parser::need_name() {
  if (now().kind != Token::Kind::name) fail("expected a name, found " + found());
  return failed() ? std::string() : take().text;
}

void Parser::fail(Code code, const std::string& message) {
  if (!failed()) error_ = Error{code, message, line_name(now().line)};
}

NameId Parser::name_id(const std::string& name) {
  const auto [known, added] = ids_.try_emplace(name, static_cast<NameId>(program_.names.size()));
  if (added) program_.names.push_back(name);
  return known->second;
}

Result<Program> Parser::run() {
  program_.body = body({});
  if (!failed()) check_macros();
  if (failed()) return *error_;
  return std::move(program_);
}

void Parser::check_macros() {
  for (const auto& [name, line] : called_)
    if (name != "caller" && !macros_.contains(name) && !failed())
      error_ = Error{Code::unimplemented, "the function '" + name + "' is not supported",
                     line_name(line)};
}

// Statements up to a tag whose name is in `ends`, of which "{%" and the name are taken.
std::vector<Statement> Parser::body(const std::set<std::string>& ends) {
  std::vector<Statement> out;
  const Level level(*this);
  while (level.fits()) {
    const Token& token = now();
    if (token.kind == Token::Kind::end) {
      if (!ends.empty()) fail("'" + *ends.begin() + "' is missing");
      return out;
    }
    if (token.kind == Token::Kind::data) {
      Statement data{.line = token.line};
      data.text = Value::trusted(take().text);
      out.push_back(std::move(data));
    } else if (token.kind == Token::Kind::output_begin) {
      out.push_back(output());
    } else {
      need(Token::Kind::block_begin, "a tag");
      if (now().kind == Token::Kind::name && ends.contains(now().text)) return out;
      out.push_back(statement());
    }
  }
  return out;
}

Statement Parser::output() {
  Statement out{.kind = Statement::Kind::output, .line = take().line};
  out.exprs.push_back(expression());
  need(Token::Kind::output_end, "'}}'");
  return out;
}

Statement Parser::statement() {
  const int line = now().line;
  const std::string name = need_name();
  Statement out;
  if (name == "set") {
    out = set();
  } else if (name == "if") {
    out = branch();
  } else if (name == "for") {
    out = loop();
  } else if (name == "macro") {
    out = macro();
  } else if (name == "call") {
    out = call_block();
  } else if (name == "filter") {
    out = filter_block();
  } else if (name == "with" || name == "generation") {
    out = scope(name == "with");
  } else if (name == "break" || name == "continue") {
    out = leave(name == "break" ? Statement::Kind::leave : Statement::Kind::next);
  } else if (name.starts_with("end") || name == "else" || name == "elif") {
    fail("unexpected '" + name + "'");
  } else {
    refuse("the statement '" + name + "'");
  }
  out.line = line;
  return out;
}

void Parser::end_block(const std::string& name) {
  if (!take_name(name)) fail("expected '" + name + "'");
  need(Token::Kind::block_end, "'%}'");
}

std::vector<NameId> Parser::targets() {
  std::vector<NameId> out;
  const bool bracket = take_symbol("(");
  do {
    if (now().is_symbol(")")) break;
    const std::string name = need_name();
    if (name == "loop" || name == "true" || name == "false" || name == "none")
      fail("'" + name + "' can not be assigned");
    out.push_back(name_id(name));
  } while (!failed() && take_symbol(","));
  if (bracket) need_symbol(")");
  return out;
}

Statement Parser::set() {
  Statement out{.kind = Statement::Kind::set};
  if (ahead(1).is_symbol(".")) {
    out.kind = Statement::Kind::set_attribute;
    out.targets.push_back(name_id(need_name()));
    take();
    out.attribute = need_name();
  } else {
    out.targets = targets();
  }
  if (take_symbol("=")) {
    // A tuple needs no brackets here.
    Expr value = expression();
    if (now().is_symbol(",")) {
      std::vector<Expr> items;
      items.push_back(std::move(value));
      while (!failed() && take_symbol(","))
        if (now().kind != Token::Kind::block_end) items.push_back(expression());
      value = make(Expr::Kind::tuple, std::move(items));
    }
    out.exprs.push_back(std::move(value));
    need(Token::Kind::block_end, "'%}'");
    return out;
  }
  if (out.kind == Statement::Kind::set_attribute || out.targets.size() != 1) {
    refuse("a block set of anything but a name");
    return out;
  }
  out.kind = Statement::Kind::set_block;
  // The body's text stands for the subject of the filters: a name no template can write.
  Expr text = make(Expr::Kind::name);
  text.name = name_id("{block}");
  text.text = "block";
  Expr filtered = std::move(text);
  while (!failed() && take_symbol("|")) filtered = filter(std::move(filtered));
  need(Token::Kind::block_end, "'%}'");
  out.exprs.push_back(std::move(filtered));
  const bool outer = std::exchange(inside_scope_, true);
  out.bodies.push_back(body({"endset"}));
  inside_scope_ = outer;
  end_block("endset");
  return out;
}

Statement Parser::branch() {
  Statement out{.kind = Statement::Kind::branch};
  out.exprs.push_back(expression());
  need(Token::Kind::block_end, "'%}'");
  while (!failed()) {
    out.bodies.push_back(body({"elif", "else", "endif"}));
    if (take_name("elif")) {
      out.exprs.push_back(expression());
      need(Token::Kind::block_end, "'%}'");
      continue;
    }
    if (!take_name("else")) break;
    need(Token::Kind::block_end, "'%}'");
    out.bodies.push_back(body({"endif"}));
    break;
  }
  end_block("endif");
  return out;
}

Statement Parser::loop() {
  Statement out{.kind = Statement::Kind::loop};
  out.targets = targets();
  if (!take_name("in")) fail("expected 'in', found " + found());
  // Without a conditional expression: `if` begins the loop's own condition.
  Expr items = logical_or();
  if (now().is_symbol(",")) refuse("a tuple without brackets in 'for'");
  out.exprs.push_back(std::move(items));
  if (take_name("if")) out.exprs.push_back(expression());
  if (now().is_name("recursive")) refuse("a recursive loop");
  need(Token::Kind::block_end, "'%}'");
  const bool outer = std::exchange(inside_scope_, true);
  ++loops_;
  out.bodies.push_back(body({"else", "endfor"}));
  --loops_;
  if (take_name("else")) {
    need(Token::Kind::block_end, "'%}'");
    out.bodies.push_back(body({"endfor"}));
  }
  inside_scope_ = outer;
  end_block("endfor");
  return out;
}

void Parser::parameters(Statement& out) {
  need_symbol("(");
  while (!failed() && !now().is_symbol(")")) {
    out.targets.push_back(name_id(need_name()));
    if (take_symbol("="))
      out.exprs.push_back(expression());
    else if (!out.exprs.empty())
      fail("a parameter without default behind one with");
    if (!take_symbol(",")) break;
  }
  need_symbol(")");
}

Statement Parser::macro() {
  Statement out{.kind = Statement::Kind::macro};
  if (inside_macro_ || inside_scope_) refuse("a macro inside a loop, macro or other scope");
  const std::string name = need_name();
  if (find_function(name) != nullptr || name == "caller")
    refuse("a macro with the name of a function");
  macros_.insert(name);
  out.attribute = name;
  parameters(out);
  out.targets.push_back(name_id(name));  // the last target is the macro itself
  need(Token::Kind::block_end, "'%}'");
  inside_macro_ = true;
  const int loops = std::exchange(loops_, 0);
  out.bodies.push_back(body({"endmacro"}));
  inside_macro_ = false;
  loops_ = loops;
  take_name("endmacro");
  take_name(name);
  need(Token::Kind::block_end, "'%}'");
  return out;
}

Statement Parser::call_block() {
  Statement out{.kind = Statement::Kind::call};
  if (now().is_symbol("(")) parameters(out);
  const size_t defaults = out.exprs.size();
  if (defaults > 0) refuse("a call block whose parameters have defaults");
  Expr call = expression();
  if (call.kind != Expr::Kind::macro) fail("expected a call of a macro");
  out.exprs.push_back(std::move(call));
  need(Token::Kind::block_end, "'%}'");
  const bool outer = std::exchange(inside_scope_, true);
  const int loops = std::exchange(loops_, 0);
  out.bodies.push_back(body({"endcall"}));
  loops_ = loops;
  inside_scope_ = outer;
  end_block("endcall");
  return out;
}

Statement Parser::filter_block() {
  Statement out{.kind = Statement::Kind::filter};
  Expr text = make(Expr::Kind::name);
  text.name = name_id("{block}");
  text.text = "block";
  Expr filtered = filter(std::move(text));
  while (!failed() && take_symbol("|")) filtered = filter(std::move(filtered));
  out.exprs.push_back(std::move(filtered));
  need(Token::Kind::block_end, "'%}'");
  const bool outer = std::exchange(inside_scope_, true);
  out.bodies.push_back(body({"endfilter"}));
  inside_scope_ = outer;
  end_block("endfilter");
  return out;
}

Statement Parser::scope(bool with) {
  Statement out{.kind = Statement::Kind::scope};
  while (with && !failed() && now().kind != Token::Kind::block_end) {
    out.targets.push_back(name_id(need_name()));
    need_symbol("=");
    out.exprs.push_back(expression());
    if (!take_symbol(",")) break;
  }
  need(Token::Kind::block_end, "'%}'");
  const std::string end = with ? "endwith" : "endgeneration";
  const bool outer = std::exchange(inside_scope_, true);
  out.bodies.push_back(body({end}));
  inside_scope_ = outer;
  end_block(end);
  return out;
}

Statement Parser::leave(Statement::Kind kind) {
  if (loops_ == 0) fail("'break' or 'continue' outside a loop");
  need(Token::Kind::block_end, "'%}'");
  return {.kind = kind};
}

}  // namespace fathom::jinja
