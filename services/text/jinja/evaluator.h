// What does a template make of its variables? Walks the syntax tree with Jinja's scopes: loops,
// with, block sets and macros have their own, if has none; a macro sees the outermost one. One
// evaluator serves one rendering.
#pragma once

#include <vector>

#include "text/jinja/builtins.h"
#include "text/jinja/syntax.h"

namespace fathom::jinja {

class Evaluator {
 public:
  Evaluator(const Program& program, Runtime& runtime) : program_(program), runtime_(runtime) {}
  // The output; worthless if the runtime failed.
  MarkedText run(const Dict& variables);

 private:
  struct Scope {
    Scope* parent = nullptr;
    std::vector<std::pair<NameId, Value>> variables;
    void set(NameId name, Value value);
    const Value* find(NameId name) const;
  };
  // The body of a {% call %} and where it stands.
  struct Caller {
    const Statement* block = nullptr;
    Scope* scope = nullptr;
  };
  enum class Flow : uint8_t { on, leave, next };

  // evaluate.cpp
  Value value(const Expr& e, Scope& scope);
  Value name(const Expr& e, const Scope& scope);
  Value dict(const Expr& e, Scope& scope);
  Value subscript(const Expr& e, Scope& scope);
  Value concat(const Expr& e, Scope& scope);
  Value compare(const Expr& e, Scope& scope);
  Value builtin(const Expr& e, const Builtin& called, std::vector<Value> args);
  Value method(const Expr& e, Scope& scope);
  std::vector<Value> values(const std::vector<Expr>& list, Scope& scope);

  // execute.cpp
  Flow run(const std::vector<Statement>& body, Scope& scope);
  Flow run(const Statement& statement, Scope& scope);
  Flow branch(const Statement& s, Scope& scope);
  Flow loop(const Statement& s, Scope& scope);
  Flow with(const Statement& s, Scope& scope);
  ListPtr loop_items(const Statement& s, Scope& scope);
  void assign(const std::vector<NameId>& targets, const Value& value, Scope& scope);
  void set_attribute(const Statement& s, Scope& scope);
  Value captured(const std::vector<Statement>& body, Scope& scope);
  Value through(const Statement& s, Scope& scope);
  Value call_macro(const Expr& e, Scope& scope, Caller caller);
  Value call_caller(const Expr& e, Scope& scope);
  void bind(const Statement& macro, const Expr& call, Scope& from, Scope& to);

  const Program& program_;
  Runtime& runtime_;
  Scope root_;
  MarkedText* out_ = nullptr;
  std::vector<const Statement*> macros_;  // by NameId
  std::vector<Caller> callers_;
  NameId loop_name_ = 0, block_name_ = 0, caller_name_ = 0;
};

}  // namespace fathom::jinja
