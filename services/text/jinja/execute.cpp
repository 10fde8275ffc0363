#include <algorithm>

#include "text/jinja/evaluator.h"
#include "text/jinja/operators.h"
#include "text/jinja/write.h"

namespace fathom::jinja {

void Evaluator::Scope::set(NameId name, Value value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

const Value* Evaluator::Scope::find(NameId name) const {
  for (const auto& [known, value] : variables)
    if (known == name) return &value;
  return nullptr;
}

MarkedText Evaluator::run(const Dict& variables) {
  macros_.assign(program_.names.size(), nullptr);
  // Names that the template does not write can not be asked for.
  loop_name_ = block_name_ = caller_name_ = UINT32_MAX;
  for (NameId id = 0; id < program_.names.size(); ++id) {
    const std::string& name = program_.names[id];
    if (name == "loop") loop_name_ = id;
    if (name == "{block}") block_name_ = id;
    if (name == "caller") caller_name_ = id;
    if (const Value* value = variables.find(name)) root_.set(id, *value);
  }
  MarkedText out;
  out_ = &out;
  run(program_.body, root_);
  return out;
}

Evaluator::Flow Evaluator::run(const std::vector<Statement>& body, Scope& scope) {
  for (const Statement& statement : body) {
    const Flow flow = run(statement, scope);
    if (runtime_.failed()) return Flow::leave;
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::run(const Statement& s, Scope& scope) {
  if (s.kind == Statement::Kind::data) {
    if (runtime_.spend_bytes(s.text.bytes().size())) out_->append(s.text.bytes());
    return Flow::on;
  }
  const Nesting nesting(runtime_);
  if (!nesting.fits() || !runtime_.spend()) return Flow::leave;
  runtime_.at_line(s.line);
  switch (s.kind) {
    case Statement::Kind::data:
      break;
    case Statement::Kind::output:
      write_str(runtime_, value(s.exprs[0], scope), *out_);
      break;
    case Statement::Kind::set:
      assign(s.targets, value(s.exprs[0], scope), scope);
      break;
    case Statement::Kind::set_attribute:
      set_attribute(s, scope);
      break;
    case Statement::Kind::set_block:
      scope.set(s.targets[0], through(s, scope));
      break;
    case Statement::Kind::branch:
      return branch(s, scope);
    case Statement::Kind::loop:
      return loop(s, scope);
    case Statement::Kind::macro:
      macros_[s.targets.back()] = &s;
      root_.set(s.targets.back(), Value::callable());
      break;
    case Statement::Kind::call:
      write_str(runtime_, call_macro(s.exprs[0], scope, {&s, &scope}), *out_);
      break;
    case Statement::Kind::filter:
      write_str(runtime_, through(s, scope), *out_);
      break;
    case Statement::Kind::scope:
      return with(s, scope);
    case Statement::Kind::leave:
      return Flow::leave;
    case Statement::Kind::next:
      return Flow::next;
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::branch(const Statement& s, Scope& scope) {
  for (size_t i = 0; i < s.bodies.size(); ++i)
    if (i >= s.exprs.size() || value(s.exprs[i], scope).truth())
      return runtime_.failed() ? Flow::leave : run(s.bodies[i], scope);
  return Flow::on;
}

Evaluator::Flow Evaluator::with(const Statement& s, Scope& scope) {
  Scope inner{.parent = &scope};
  for (size_t i = 0; i < s.targets.size(); ++i) inner.set(s.targets[i], value(s.exprs[i], scope));
  return run(s.bodies[0], inner);
}

// The items, filtered by the loop's own condition.
ListPtr Evaluator::loop_items(const Statement& s, Scope& scope) {
  ListPtr all = items_of(runtime_, value(s.exprs[0], scope));
  if (s.exprs.size() < 2 || runtime_.failed()) return all;
  std::vector<Value> kept;
  for (const Value& item : all->items) {
    Scope inner{.parent = &scope};
    assign(s.targets, item, inner);
    if (value(s.exprs[1], inner).truth()) kept.push_back(item);
    if (!runtime_.spend()) break;
  }
  const Value list = runtime_.make_list(std::move(kept));
  return list.is(Kind::list) ? list.list_ptr() : all;
}

Evaluator::Flow Evaluator::loop(const Statement& s, Scope& scope) {
  const ListPtr items = loop_items(s, scope);
  if (runtime_.failed()) return Flow::leave;
  if (items->items.empty()) return s.bodies.size() > 1 ? run(s.bodies[1], scope) : Flow::on;
  for (size_t i = 0; i < items->items.size() && runtime_.spend(); ++i) {
    Scope inner{.parent = &scope};
    // A value of its own for each round: a template may keep it.
    if (loop_name_ != UINT32_MAX && runtime_.spend_bytes(64))
      inner.set(loop_name_, std::make_shared<const Loop>(Loop{.items = items, .index = i}));
    assign(s.targets, items->items[i], inner);
    if (run(s.bodies[0], inner) == Flow::leave) break;
  }
  return Flow::on;
}

void Evaluator::assign(const std::vector<NameId>& targets, const Value& value, Scope& scope) {
  if (targets.size() == 1) return scope.set(targets[0], value);
  const ListPtr items = items_of(runtime_, value);
  if (runtime_.failed()) return;
  if (items->items.size() != targets.size()) {
    runtime_.fail("expected " + std::to_string(targets.size()) + " values to unpack, got " +
                  std::to_string(items->items.size()));
    return;
  }
  for (size_t i = 0; i < targets.size(); ++i) scope.set(targets[i], items->items[i]);
}

void Evaluator::set_attribute(const Statement& s, Scope& scope) {
  Expr target;
  target.kind = Expr::Kind::name;
  target.name = s.targets[0];
  target.text = program_.names[s.targets[0]];
  const Value object = name(target, scope);
  const Value assigned = value(s.exprs[0], scope);
  if (runtime_.failed()) return;
  if (!object.is(Kind::space)) {
    runtime_.fail("cannot assign attribute on non-namespace object");
    return;
  }
  object.space().fields.set(Value::trusted(s.attribute), assigned);
}

Value Evaluator::captured(const std::vector<Statement>& body, Scope& scope) {
  MarkedText text;
  MarkedText* outer = std::exchange(out_, &text);
  run(body, scope);
  out_ = outer;
  return runtime_.make_text(std::move(text));
}

// What a body makes, through the filters of its tag.
Value Evaluator::through(const Statement& s, Scope& scope) {
  Scope inner{.parent = &scope};
  Value text = captured(s.bodies[0], inner);
  if (runtime_.failed()) return {};
  Scope filters{.parent = &scope};
  filters.set(block_name_, std::move(text));
  return value(s.exprs[0], filters);
}

void Evaluator::bind(const Statement& macro, const Expr& call, Scope& from, Scope& to) {
  // A macro's last target is its own name; a call block has none.
  const size_t count = macro.targets.size() - (macro.kind == Statement::Kind::macro ? 1 : 0);
  const size_t positional = call.args.size() - call.named.size();
  if (positional > count) {
    runtime_.fail("'" + call.text + "' takes no more than " + std::to_string(count) + " arguments");
    return;
  }
  const auto parameters = std::span(macro.targets).first(count);
  for (size_t i = 0; i < positional; ++i) to.set(parameters[i], value(call.args[i], from));
  for (size_t i = 0; i < call.named.size(); ++i) {
    const std::string& name = call.named[i];
    const auto found =
        std::ranges::find_if(parameters, [&](NameId id) { return program_.names[id] == name; });
    if (found == parameters.end()) {
      runtime_.fail("'" + call.text + "' takes no argument '" + name + "'");
      return;
    }
    to.set(*found, value(call.args[positional + i], from));
  }
  const size_t plain = count - std::min(count, macro.exprs.size());
  for (size_t i = 0; i < count; ++i) {
    if (to.find(parameters[i]) != nullptr) continue;
    const bool has_default = macro.kind == Statement::Kind::macro && i >= plain;
    to.set(parameters[i], has_default ? value(macro.exprs[i - plain], to)
                                      : Value::undefined(program_.names[parameters[i]]));
  }
}

Value Evaluator::call_macro(const Expr& e, Scope& scope, Caller caller) {
  const Statement* macro = macros_[e.name];
  if (macro == nullptr) return runtime_.fail("'" + e.text + "' is undefined");
  Scope inner{.parent = &root_};
  bind(*macro, e, scope, inner);
  if (runtime_.failed()) return {};
  if (caller.block != nullptr) inner.set(caller_name_, Value::callable());
  callers_.push_back(caller);
  Value text = captured(macro->bodies[0], inner);
  callers_.pop_back();
  return text;
}

Value Evaluator::call_caller(const Expr& e, Scope& scope) {
  const Caller caller = callers_.empty() ? Caller() : callers_.back();
  if (caller.block == nullptr) return runtime_.fail("'caller' is undefined");
  Scope inner{.parent = caller.scope};
  bind(*caller.block, e, scope, inner);
  if (runtime_.failed()) return {};
  // Inside the block `caller` is that of the macro around it.
  callers_.pop_back();
  Value text = captured(caller.block->bodies[0], inner);
  callers_.push_back(caller);
  return text;
}

}  // namespace fathom::jinja
