// What does a template say? Its syntax tree: expressions and statements as plain data, with
// literals as values, filters, tests, methods and functions already resolved, so what a rendering
// can not do is known when the template is loaded.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace fathom::jinja {

struct Builtin;

// An identifier, numbered within its template.
using NameId = uint32_t;

struct Expr {
  enum class Kind : uint8_t {
    literal,
    name,
    list,   // args
    tuple,  // args
    dict,   // args: key, value, key, value...
    attribute,
    item,   // args: object, key
    slice,  // args: object, first, last, step; absent ones are literals
    negate,
    plus,
    logical_not,
    logical_and,
    logical_or,
    concat,       // args: all parts of a ~ b ~ c
    arithmetic,   // text: the operator
    compare,      // args: first, then one per operator
    conditional,  // args: value, condition, otherwise
    filter,       // args: the subject, then the builtin's
    test,         // the same
    method,       // the same; builtins of text, dict and list by that name
    function,     // args: the builtin's
    macro,        // args as written; the last ones are `named`
    caller,
  };
  enum class Compare : uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

  Kind kind = Kind::literal;
  bool negated = false;  // `is not`
  int line = 0;
  int depth = 1;
  NameId name = 0;   // name, macro
  std::string text;  // attribute, method: its name
  Value literal;
  std::vector<Expr> args;
  std::vector<std::string> named;  // the names of the last args, of macros and callers
  std::vector<Compare> compares;
  const Builtin* builtin = nullptr;
  const Builtin* dict_method = nullptr;
  const Builtin* list_method = nullptr;
};

struct Statement {
  enum class Kind : uint8_t {
    data,           // text
    output,         // exprs[0]
    set,            // targets = exprs[0]
    set_attribute,  // targets[0].text = exprs[0]
    set_block,      // targets[0] = body, through the filters of exprs
    branch,         // if: exprs[i] guards bodies[i]; one body more is the else
    loop,           // for targets in exprs[0] if exprs[1]: bodies[0], else bodies[1]
    macro,          // parameters, their defaults in exprs from the end; bodies[0]
    call,           // exprs[0] is the macro's call; bodies[0] its caller
    filter,         // exprs[0] over bodies[0]
    scope,          // with: targets[i] = exprs[i]; also {% generation %}
    leave,          // break
    next,           // continue
  };
  Kind kind = Kind::data;
  int line = 0;
  Value text;  // data
  std::string attribute;
  std::vector<NameId> targets;
  std::vector<Expr> exprs;
  std::vector<std::vector<Statement>> bodies;
};

struct Program {
  std::vector<std::string> names;  // by NameId
  std::vector<Statement> body;
};

}  // namespace fathom::jinja
