// What do the tokens of a template mean? A recursive descent parser with Jinja's precedences. All
// names of filters, tests, methods and functions are resolved here, so an unsupported construct is
// an error that names its line when the checkpoint is loaded.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/jinja/lexer.h"
#include "text/jinja/syntax.h"

namespace fathom::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  // INVALID_ARGUMENT for what is no Jinja, UNIMPLEMENTED for what we do not have.
  Result<Program> run();

 private:
  // Nesting of tags and brackets, and of operators: both bound the stack.
  static constexpr int kDeepestNesting = 120;
  static constexpr int kDeepestTree = 250;
  class Level;

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead(size_t count) const;
  Token take();
  bool take_symbol(std::string_view symbol);
  bool take_name(std::string_view name);
  void need_symbol(std::string_view symbol);
  void need(Token::Kind kind, const char* what);
  std::string need_name();
  void fail(const std::string& message) { fail(Code::invalid_argument, message); }
  void refuse(const std::string& what) { fail(Code::unimplemented, what + " is not supported"); }
  void fail(Code code, const std::string& message);
  bool failed() const { return error_.has_value(); }
  NameId name_id(const std::string& name);
  std::string found() const;

  // parse_expression.cpp
  Expr make(Expr::Kind kind, std::vector<Expr> args = {});
  Expr expression();
  Expr conditional();
  Expr logical_or();
  Expr logical_and();
  Expr logical_not();
  Expr comparison();
  bool compare_sign(Expr::Compare& out);
  Expr sum();
  Expr concatenation();
  Expr product();
  Expr power();
  Expr unary(bool with_filters);
  Expr primary();
  Expr number();
  Expr name();
  Expr parentheses();
  Expr list();
  Expr dict();
  Expr postfix(Expr object);
  Expr subscript(Expr object);
  Expr filters(Expr subject);
  Expr test(Expr subject);
  Expr test_call(Expr subject);
  static Expr absent();

  // parse_call.cpp
  struct CallArguments {
    std::vector<Expr> positional;
    std::vector<std::pair<std::string, Expr>> named;
  };
  CallArguments call_arguments();
  Expr call(Expr callee);
  Expr filter(Expr subject);
  Expr bind(Expr::Kind kind, const Builtin& builtin, std::vector<Expr> args, CallArguments given);
  void bind_open(const Builtin& builtin, Expr& call, CallArguments given);
  void check_named_choice(std::string_view filter, const CallArguments& given);
  Expr method(Expr callee, CallArguments given);

  // parse_statement.cpp
  std::vector<Statement> body(const std::set<std::string>& ends);
  Statement statement();
  Statement output();
  Statement set();
  Statement branch();
  Statement loop();
  Statement macro();
  void parameters(Statement& out);
  Statement call_block();
  Statement filter_block();
  Statement scope(bool with);
  Statement leave(Statement::Kind kind);
  std::vector<NameId> targets();
  void end_block(const std::string& name);
  void check_macros();

  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::optional<Error> error_;
  Program program_;
  std::map<std::string, NameId> ids_;
  int nesting_ = 0;
  int loops_ = 0;
  bool inside_macro_ = false;
  bool inside_scope_ = false;
  std::set<std::string> macros_;
  std::vector<std::pair<std::string, int>> called_;  // by name, with the line
};

}  // namespace fathom::jinja
