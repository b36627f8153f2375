// SPDX-License-Identifier: Apache-2.0
// Walks a parsed template. Scoping is lexical, as in Jinja: loops, macros and blocks see the scope
// around their definition and lose their own variables at the end; `if` has no scope of its own.
#pragma once

#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/arguments.h"
#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace sluice::text::jinja {

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;
  std::unique_ptr<Scope>* owner = nullptr;  // null once the interpreter keeps it

  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

struct Macro {
  const MacroDefinition* definition = nullptr;
  Scope* scope = nullptr;  // where it was defined
};

enum class Flow { kNext, kBreak, kContinue };

// One rendering.
class Interpreter {
 public:
  Interpreter(const TemplateLimits& limits, const TemplateClock& clock);
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws Failure with the position.
  Text render(const Body& body, const nlohmann::ordered_json& context);

  // For builtins.
  Budget& budget() { return budget_; }
  const TemplateClock& clock() const { return clock_; }
  Value call(const Value& callee, const Arguments& arguments);
  Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments);
  bool apply_test(std::string_view name, const Value& value, const Arguments& arguments);
  Value attribute(const Value& object, std::string_view name);  // object.name
  Value item(const Value& object, const Value& key);            // object[key]
  // A list of what a loop over the value would see.
  Value sequence(const Value& value);
  Value make_string(std::string text, bool trusted);
  Namespace* make_namespace();
  void set_attribute(Namespace& target, Value key, Value value);

 private:
  class Frame;  // a scope while its statements run
  class Nested;

  // interpreter.cpp: statements
  Flow execute(const Body& body, TextBuilder& out);
  Flow execute(const Statement& statement, TextBuilder& out);
  Flow execute_if(const Statement& statement, TextBuilder& out);
  Flow execute_for(const Statement& statement, TextBuilder& out);
  Value filtered(const Statement& statement, const Value& items);
  void call_block(const Statement& statement, TextBuilder& out);
  Value block_text(const Body& body, const Expression& filters);
  void assign(const Expression& target, const Value& value);
  Value define_macro(const MacroDefinition& definition);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  void bind_parameters(const MacroDefinition& definition, const Arguments& arguments);
  void load_context(const nlohmann::ordered_json& context);

  // evaluate.cpp: expressions
  Value evaluate(const Expression& expression);
  Value evaluate_inner(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_unary(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_list(const Expression& expression, ListKind kind);
  Value evaluate_dict(const Expression& expression);
  Arguments evaluate_arguments(const std::vector<ArgumentExpression>& arguments);
  Value lookup(std::string_view name);
  Value loop_attribute(const Value& loop, std::string_view name);
  Value list_slice(const Value& object, const Value& start, const Value& stop, const Value& step);

  // First, so that it outlives every value.
  Budget budget_;
  const TemplateClock& clock_;
  Value context_;
  std::deque<Namespace> namespaces_;
  std::deque<Macro> macros_;
  std::vector<std::unique_ptr<Scope>> kept_scopes_;
  Scope* scope_ = nullptr;
  std::vector<Value> block_texts_;
  Position at_;
};

// operators.cpp
Value binary(Budget& budget, Operator op, const Value& left, const Value& right);
Value negate(const Value& value);
bool compare(Budget& budget, Operator op, const Value& left, const Value& right);

}  // namespace sluice::text::jinja
