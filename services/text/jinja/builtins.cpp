#include "text/jinja/builtins.h"

#include <algorithm>

namespace fathom::jinja {
namespace detail {

const Builtin* find_in(std::span<const Builtin> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Builtin::name);
  return found == table.end() ? nullptr : &*found;
}

}  // namespace detail

const Builtin* find_filter(std::string_view name) {
  for (const auto& table : {detail::text_filters(), detail::list_filters(),
                            detail::choice_filters(), detail::case_filters()})
    if (const Builtin* found = detail::find_in(table, name)) return found;
  return nullptr;
}

const Builtin* find_text_method(std::string_view name) {
  for (const auto& table :
       {detail::text_methods(), detail::split_methods(), detail::case_methods()})
    if (const Builtin* found = detail::find_in(table, name)) return found;
  return nullptr;
}

size_t parameter_count(const Builtin& builtin) {
  std::string_view names = builtin.parameters;
  if (names.starts_with('*')) names.remove_prefix(std::min(names.size(), names.find(',')));
  if (names.starts_with(',')) names.remove_prefix(1);
  return names.empty() ? 0 : 1 + static_cast<size_t>(std::ranges::count(names, ','));
}

Value call_named(Runtime& runtime, const Builtin& builtin, const Value& subject, Arguments rest) {
  const size_t slots = parameter_count(builtin);
  const bool open = builtin.parameters.starts_with('*');
  if (rest.size() < static_cast<size_t>(builtin.required) || (!open && rest.size() > slots))
    return runtime.fail("wrong number of arguments for " + std::string(builtin.name));
  std::vector<Value> args{subject};
  if (open) args.resize(1 + slots, Value::absent());
  args.insert(args.end(), rest.begin(), rest.end());
  if (!open) args.resize(1 + slots, Value::absent());
  return builtin.function(runtime, args);
}

}  // namespace fathom::jinja
