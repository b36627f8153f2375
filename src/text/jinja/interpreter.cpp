// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/interpreter.h"

#include <algorithm>
#include <utility>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter_internal.h"
#include "text/jinja/json.h"

namespace sluice::text::jinja {

namespace {

constexpr size_t kKeptScopeBytes = sizeof(Scope) + sizeof(Macro) + 64;

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const auto& [known, value] : variables) {
    if (known == name) return &value;
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : variables) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

Interpreter::Interpreter(const TemplateLimits& limits, const TemplateClock& clock)
    : budget_(limits), clock_(clock) {}

Text Interpreter::render(const Body& body, const nlohmann::ordered_json& context) {
  try {
    load_context(context);
    TextBuilder out(budget_);
    Frame frame(*this, nullptr);
    execute(body, out);
    return out.take();
  } catch (Failure& failure) {
    if (failure.at.line == 0) failure.at = at_;
    throw;
  }
}

// The context's own special tokens are the model's, not anybody's text.
void Interpreter::load_context(const nlohmann::ordered_json& context) {
  if (!context.is_object()) reject("the context is not an object");
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key, value] : context.items()) {
    const bool token = key.ends_with("_token") && value.is_string();
    Value converted =
        token ? Value::string(&budget_, Text::trusted(value.get_ref<const std::string&>()))
              : from_json(budget_, value);
    entries.emplace_back(make_string(key, true), std::move(converted));
  }
  context_ = Value::dict(budget_, std::move(entries));
}

Value Interpreter::make_string(std::string text, bool trusted) {
  return Value::string(
      &budget_, trusted ? Text::trusted(std::move(text)) : Text::from_context(std::move(text)));
}

Namespace* Interpreter::make_namespace() {
  budget_.hold(sizeof(Namespace));
  return &namespaces_.emplace_back();
}

void Interpreter::set_attribute(Namespace& target, Value key, Value value) {
  budget_.work(target.entries.size());
  for (auto& [known, old] : target.entries) {
    if (known.as_text().bytes == key.as_text().bytes) {
      old = std::move(value);
      return;
    }
  }
  budget_.hold(2 * sizeof(target.entries[0]));
  target.entries.emplace_back(std::move(key), std::move(value));
}

Flow Interpreter::execute(const Body& body, TextBuilder& out) {
  const Nested nested(budget_);
  for (const Statement& statement : body) {
    const Flow flow = execute(statement, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Flow Interpreter::execute(const Statement& statement, TextBuilder& out) {
  at_ = statement.at;
  budget_.step();
  switch (statement.kind) {
    case StatementKind::kText:
      out.append(statement.text.as_text());
      break;
    case StatementKind::kOutput:
      append_string(out, evaluate(*statement.expression));
      break;
    case StatementKind::kIf:
      return execute_if(statement, out);
    case StatementKind::kFor:
      return execute_for(statement, out);
    case StatementKind::kSet: {
      const Assignment& assignment = statement.assignments[0];
      const Value value = evaluate(*assignment.value);
      at_ = statement.at;
      assign(*assignment.target, value);
      break;
    }
    case StatementKind::kSetBlock: {
      const Assignment& assignment = statement.assignments[0];
      assign(*assignment.target, block_text(statement.body, *assignment.value));
      break;
    }
    case StatementKind::kMacro:
      scope_->set(statement.macro->name, define_macro(*statement.macro));
      break;
    case StatementKind::kCallBlock:
      call_block(statement, out);
      break;
    case StatementKind::kFilterBlock:
      append_string(out, block_text(statement.body, *statement.expression));
      break;
    case StatementKind::kScope: {
      std::vector<Value> values;
      for (const auto& assignment : statement.assignments) {
        values.push_back(evaluate(*assignment.value));
      }
      Frame frame(*this, scope_);
      for (size_t i = 0; i < values.size(); ++i) {
        assign(*statement.assignments[i].target, values[i]);
      }
      return execute(statement.body, out);
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Flow Interpreter::execute_if(const Statement& statement, TextBuilder& out) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition == nullptr || evaluate(*branch.condition).truth()) {
      return execute(branch.body, out);
    }
  }
  return Flow::kNext;
}

Value Interpreter::filtered(const Statement& statement, const Value& items) {
  std::vector<Value> result;
  Frame frame(*this, scope_);
  for (const Value& item : items.as_list()) {
    assign(*statement.assignments[0].target, item);
    if (evaluate(*statement.condition).truth()) result.push_back(item);
  }
  return Value::list(budget_, std::move(result));
}

Flow Interpreter::execute_for(const Statement& statement, TextBuilder& out) {
  Value items = sequence(evaluate(*statement.expression));
  if (statement.condition != nullptr) items = filtered(statement, items);
  const auto loop = std::make_shared<LoopObject>(&budget_, items);
  const std::vector<Value>& values = items.as_list();
  if (values.empty()) {
    Frame frame(*this, scope_);
    return execute(statement.alternative, out);
  }
  Frame frame(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    budget_.step();
    if (i > 0) frame.renew();
    at_ = statement.at;
    loop->index = i;
    scope_->set("loop", Value::loop(loop));
    assign(*statement.assignments[0].target, values[i]);
    if (execute(statement.body, out) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Value Interpreter::block_text(const Body& body, const Expression& filters) {
  TextBuilder out(budget_);
  {
    Frame frame(*this, scope_);
    execute(body, out);
  }
  block_texts_.push_back(Value::string(out));
  Value result = evaluate(filters);
  block_texts_.pop_back();
  return result;
}

void Interpreter::assign(const Expression& target, const Value& value) {
  if (target.kind == ExpressionKind::kName) {
    scope_->set(target.name, value);
  } else if (target.kind == ExpressionKind::kAttribute) {
    const Expression& name = *target.operands[0];
    const Value object = lookup(name.name);
    if (!object.is(Kind::kNamespace)) {
      reject("cannot set '{}.{}': '{}' is {}, not a namespace", name.name, target.name, name.name,
             describe(object));
    }
    set_attribute(object.as_namespace(), make_string(target.name, true), value);
  } else {
    const Value items = sequence(value);
    if (items.as_list().size() != target.operands.size()) {
      reject("cannot unpack {} item(s) into {} variable(s)", items.as_list().size(),
             target.operands.size());
    }
    for (size_t i = 0; i < target.operands.size(); ++i) {
      assign(*target.operands[i], items.as_list()[i]);
    }
  }
}

// A macro sees the scope of its definition for as long as it lives, so those scopes are kept.
Value Interpreter::define_macro(const MacroDefinition& definition) {
  for (Scope* scope = scope_; scope != nullptr && scope->owner != nullptr; scope = scope->parent) {
    budget_.hold(kKeptScopeBytes + scope->variables.capacity() * sizeof(scope->variables[0]));
    kept_scopes_.push_back(std::move(*scope->owner));
    scope->owner = nullptr;
  }
  budget_.hold(kKeptScopeBytes);
  return Value::macro(budget_, &macros_.emplace_back(Macro{&definition, scope_}));
}

void Interpreter::call_block(const Statement& statement, TextBuilder& out) {
  const Expression& call_expression = *statement.expression;
  const Value callee = evaluate(*call_expression.operands[0]);
  Arguments arguments = evaluate_arguments(call_expression.arguments);
  arguments.named.push_back({"caller", define_macro(*statement.macro)});
  at_ = statement.at;
  append_string(out, call(callee, arguments));
}

Value Interpreter::call_macro(const Macro& macro, const Arguments& arguments) {
  if (++budget_.calls > budget_.limits().depth) {
    exceed("calls macros more than {} deep (limit depth)", budget_.limits().depth);
  }
  TextBuilder out(budget_);
  {
    Frame frame(*this, macro.scope);
    bind_parameters(*macro.definition, arguments);
    execute(macro.definition->body, out);
  }
  --budget_.calls;
  return Value::string(out);
}

void Interpreter::bind_parameters(const MacroDefinition& definition, const Arguments& arguments) {
  const auto& parameters = definition.parameters;
  std::vector<bool> used(arguments.named.size(), false);
  std::vector<const Expression*> defaults(parameters.size(), nullptr);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Value* value = i < arguments.positional.size() ? &arguments.positional[i] : nullptr;
    for (size_t j = 0; j < arguments.named.size(); ++j) {
      if (arguments.named[j].name != parameters[i].name || used[j]) continue;
      if (value != nullptr) {
        reject("macro '{}' got two values for '{}'", definition.name, parameters[i].name);
      }
      value = &arguments.named[j].value;
      used[j] = true;
    }
    if (value == nullptr) defaults[i] = parameters[i].default_value.get();
    scope_->set(parameters[i].name, value != nullptr ? *value : Value());
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (defaults[i] != nullptr) scope_->set(parameters[i].name, evaluate(*defaults[i]));
  }

  std::vector<std::pair<Value, Value>> others;
  Value caller;
  for (size_t j = 0; j < arguments.named.size(); ++j) {
    const auto& [name, value, trusted] = arguments.named[j];
    if (used[j]) continue;
    if (name == "caller" && definition.reads_caller) {
      caller = value;
    } else if (definition.reads_kwargs) {
      others.emplace_back(make_string(name, trusted), value);
    } else {
      reject("macro '{}' takes no argument '{}'", definition.name, name);
    }
  }
  if (definition.reads_caller && scope_->find("caller") == nullptr) scope_->set("caller", caller);
  if (definition.reads_kwargs) scope_->set("kwargs", Value::dict(budget_, std::move(others)));
  const auto& given = arguments.positional;
  if (definition.reads_varargs) {
    const auto first = std::min(parameters.size(), given.size());
    std::vector<Value> rest(given.begin() + static_cast<ptrdiff_t>(first), given.end());
    scope_->set("varargs", Value::list(budget_, std::move(rest), ListKind::kTuple));
  } else if (given.size() > parameters.size()) {
    reject("macro '{}' takes at most {} argument(s), got {}", definition.name, parameters.size(),
           given.size());
  }
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (!callee.is(Kind::kFunction)) reject("{} cannot be called", describe(callee));
  const FunctionObject& function = callee.as_function();
  if (function.macro != nullptr) return call_macro(*function.macro, arguments);
  return function.builtin(*this, function.receiver, arguments);
}

Value Interpreter::apply_filter(std::string_view name, const Value& value,
                                const Arguments& arguments) {
  const BuiltinFunction filter = find_filter(name);
  if (filter == nullptr) reject("there is no filter '{}'", name);
  return filter(*this, value, arguments);
}

bool Interpreter::apply_test(std::string_view name, const Value& value,
                             const Arguments& arguments) {
  const TestFunction test = find_test(name);
  if (test == nullptr) reject("there is no test '{}'", name);
  return test(*this, value, arguments);
}

}  // namespace sluice::text::jinja
