#include "text/jinja/evaluator.h"
#include "text/jinja/operators.h"
#include "text/jinja/write.h"

namespace fathom::jinja {

std::vector<Value> Evaluator::values(const std::vector<Expr>& list, Scope& scope) {
  std::vector<Value> out;
  out.reserve(list.size());
  for (const Expr& e : list) out.push_back(value(e, scope));
  return out;
}

Value Evaluator::name(const Expr& e, const Scope& scope) {
  for (const Scope* at = &scope; at != nullptr; at = at->parent)
    if (const Value* found = at->find(e.name)) return *found;
  if (find_function(e.text) != nullptr) return Value::callable();
  return Value::undefined(e.text);
}

Value Evaluator::dict(const Expr& e, Scope& scope) {
  Dict out;
  for (size_t i = 0; i + 1 < e.args.size(); i += 2) {
    Value key = value(e.args[i], scope);
    if (key.is(Kind::dict) || (key.is(Kind::list) && !key.list().tuple))
      return runtime_.fail("unhashable type: '" + std::string(type_name(key)) + "'");
    out.set(std::move(key), value(e.args[i + 1], scope));
  }
  return runtime_.make_dict(std::move(out));
}

Value Evaluator::subscript(const Expr& e, Scope& scope) {
  const Value object = value(e.args[0], scope);
  const Value key = value(e.args[1], scope);
  const Value& written = e.args[1].literal;
  const std::string_view named =
      written.is(Kind::text) ? written.bytes() : std::string_view("an item");
  return item(runtime_, object, key, named);
}

Value Evaluator::concat(const Expr& e, Scope& scope) {
  MarkedText out;
  for (const Expr& part : e.args) write_str(runtime_, value(part, scope), out);
  return runtime_.make_text(std::move(out));
}

Value Evaluator::compare(const Expr& e, Scope& scope) {
  Value left = value(e.args[0], scope);
  for (size_t i = 0; i < e.compares.size() && !runtime_.failed(); ++i) {
    Value right = value(e.args[i + 1], scope);
    const auto same = [&] {
      runtime_.spend(1 + std::min(left.weight(), right.weight()) / 64);
      return equal(left, right);
    };
    bool holds = false;
    switch (e.compares[i]) {
      case Expr::Compare::eq:
        holds = same();
        break;
      case Expr::Compare::ne:
        holds = !same();
        break;
      case Expr::Compare::lt:
        holds = ordered(runtime_, left, right) < 0;
        break;
      case Expr::Compare::le:
        holds = ordered(runtime_, left, right) <= 0;
        break;
      case Expr::Compare::gt:
        holds = ordered(runtime_, left, right) > 0;
        break;
      case Expr::Compare::ge:
        holds = ordered(runtime_, left, right) >= 0;
        break;
      case Expr::Compare::in:
        holds = contains(runtime_, left, right);
        break;
      case Expr::Compare::not_in:
        holds = !contains(runtime_, left, right);
        break;
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::builtin(const Expr& e, const Builtin& called, std::vector<Value> args) {
  int64_t weight = 0;
  for (const Value& arg : args) weight += arg.weight();
  if (!runtime_.spend(1 + weight / 64)) return {};
  Value result = called.function(runtime_, args);
  if (e.kind != Expr::Kind::test || runtime_.failed()) return result;
  return result.truth() != e.negated;
}

Value Evaluator::method(const Expr& e, Scope& scope) {
  std::vector<Value> args = values(e.args, scope);
  if (runtime_.failed()) return {};
  const Value& object = args[0];
  const Builtin* called = nullptr;
  if (object.is(Kind::text) || object.is(Kind::loop)) called = e.builtin;
  if (object.is(Kind::dict)) called = e.dict_method;
  if (object.is(Kind::list)) called = e.list_method;
  const bool of_loop = called != nullptr && called == find_loop_method(e.text);
  if (object.is(Kind::undefined)) return undefined_error(runtime_, object);
  if (called == nullptr || of_loop != object.is(Kind::loop))
    return runtime_.fail("'" + std::string(type_name(object)) + "' object has no method '" +
                         e.text + "'");
  if (!called->parameters.starts_with('*')) {
    const size_t wanted = 1 + parameter_count(*called);
    for (size_t i = wanted; i < args.size(); ++i)
      if (!args[i].is(Kind::absent)) return runtime_.fail("too many arguments for " + e.text);
    args.resize(wanted, Value::absent());
  }
  return builtin(e, *called, std::move(args));
}

Value Evaluator::value(const Expr& e, Scope& scope) {
  if (e.kind == Expr::Kind::literal) return e.literal;
  if (e.kind == Expr::Kind::name) return name(e, scope);
  const Nesting nesting(runtime_);
  if (!nesting.fits() || !runtime_.spend()) return {};
  const auto arg = [&](size_t i) { return value(e.args[i], scope); };
  switch (e.kind) {
    case Expr::Kind::literal:
    case Expr::Kind::name:
      return {};
    case Expr::Kind::list:
    case Expr::Kind::tuple:
      return runtime_.make_list(values(e.args, scope), e.kind == Expr::Kind::tuple);
    case Expr::Kind::dict:
      return dict(e, scope);
    case Expr::Kind::attribute:
      return attribute(runtime_, arg(0), e.text);
    case Expr::Kind::item:
      return subscript(e, scope);
    case Expr::Kind::slice: {
      const std::vector<Value> parts = values(e.args, scope);
      return slice(runtime_, parts[0], parts[1], parts[2], parts[3]);
    }
    case Expr::Kind::negate:
      return negated(runtime_, arg(0));
    case Expr::Kind::plus:
      return arg(0);
    case Expr::Kind::logical_not:
      return !arg(0).truth();
    case Expr::Kind::logical_and: {
      Value left = arg(0);
      return left.truth() ? arg(1) : left;
    }
    case Expr::Kind::logical_or: {
      Value left = arg(0);
      return left.truth() ? left : arg(1);
    }
    case Expr::Kind::concat:
      return concat(e, scope);
    case Expr::Kind::arithmetic: {
      const Value left = arg(0);
      const Value right = arg(1);
      return runtime_.failed() ? Value() : arithmetic(runtime_, e.text, left, right);
    }
    case Expr::Kind::compare:
      return compare(e, scope);
    case Expr::Kind::conditional:
      return arg(1).truth() ? arg(0) : arg(2);
    case Expr::Kind::filter:
    case Expr::Kind::test:
    case Expr::Kind::function: {
      std::vector<Value> args = values(e.args, scope);
      return runtime_.failed() ? Value() : builtin(e, *e.builtin, std::move(args));
    }
    case Expr::Kind::method:
      return method(e, scope);
    case Expr::Kind::macro:
      return call_macro(e, scope, {});
    case Expr::Kind::caller:
      return call_caller(e, scope);
  }
  return {};
}

}  // namespace fathom::jinja
