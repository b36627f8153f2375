// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/interpreter_internal.h"

namespace sluice::text::jinja {

namespace {

// For messages: the name or attribute that was undefined.
std::string name_of(const Expression& expression) {
  if (expression.kind == ExpressionKind::kName) return expression.name;
  if (expression.kind == ExpressionKind::kAttribute) {
    return name_of(*expression.operands[0]) + "." + expression.name;
  }
  if (expression.kind == ExpressionKind::kItem) return name_of(*expression.operands[0]) + "[...]";
  return "it";
}

// Where a slice begins, ends, and how it goes on, as Python's slice.indices.
struct SliceIndices {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
};

std::optional<int64_t> slice_part(const Value& value) {
  if (value.is_none()) return std::nullopt;
  if (!value.is_integral()) reject("a slice needs integers, not {}", describe(value));
  return value.as_integer();
}

SliceIndices slice_indices(const Value& start, const Value& stop, const Value& step, int64_t size) {
  SliceIndices result;
  result.step = slice_part(step).value_or(1);
  if (result.step == 0) reject("a slice cannot have the step 0");
  const bool back = result.step < 0;
  const int64_t low = back ? -1 : 0;
  const int64_t high = back ? size - 1 : size;
  const auto place = [&](const Value& value, int64_t otherwise) {
    const auto part = slice_part(value);
    if (!part) return otherwise;
    if (*part >= 0) return std::min(*part, high);
    return *part < -size ? low : std::max(*part + size, low);
  };
  result.start = place(start, back ? high : low);
  result.stop = place(stop, back ? low : high);
  return result;
}

// How many items the slice has.
size_t slice_count(const SliceIndices& slice) {
  if (slice.step > 0) {
    if (slice.start >= slice.stop) return 0;
    return static_cast<size_t>((slice.stop - slice.start - 1) / slice.step) + 1;
  }
  if (slice.start <= slice.stop) return 0;
  // -(step + 1) + 1 cannot overflow, unlike -step
  const uint64_t step = static_cast<uint64_t>(-(slice.step + 1)) + 1;
  return static_cast<size_t>(static_cast<uint64_t>(slice.start - slice.stop - 1) / step) + 1;
}

Value text_slice(Budget& budget, const Text& text, const Value& start, const Value& stop,
                 const Value& step) {
  budget.work(text.size());
  const auto size = static_cast<int64_t>(count_characters(text.view()));
  const SliceIndices slice = slice_indices(start, stop, step, size);
  const size_t count = slice_count(slice);
  TextBuilder out(budget);
  if (slice.step == 1) {
    const size_t begin = character_offset(text.view(), static_cast<size_t>(slice.start));
    const size_t length = character_offset(text.view().substr(begin), count);
    if (count > 0) out.append(text, begin, begin + length);
    return Value::string(out);
  }
  budget.expect((text.size() + 1) * sizeof(size_t));
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at = next_character(text.view(), at)) {
    offsets.push_back(at);
  }
  offsets.push_back(text.size());
  int64_t index = slice.start;
  for (size_t i = 0; i < count; ++i) {
    budget.step();
    out.append(text, offsets[static_cast<size_t>(index)], offsets[static_cast<size_t>(index) + 1]);
    if (i + 1 < count) index += slice.step;
  }
  return Value::string(out);
}

}  // namespace

Value Interpreter::evaluate(const Expression& expression) {
  budget_.step();
  if (expression.kind == ExpressionKind::kConstant) return expression.constant;
  if (expression.kind == ExpressionKind::kName) return lookup(expression.name);
  at_ = expression.at;
  const Nested nested(budget_);
  return evaluate_inner(expression);
}

Value Interpreter::evaluate_inner(const Expression& expression) {
  const auto& operands = expression.operands;
  switch (expression.kind) {
    case ExpressionKind::kBlockText:
      return block_texts_.back();
    case ExpressionKind::kAttribute: {
      const Value object = evaluate(*operands[0]);
      at_ = expression.at;
      if (object.is_undefined()) {
        reject("'{}' is undefined, so it has no '{}'", name_of(*operands[0]), expression.name);
      }
      return attribute(object, expression.name);
    }
    case ExpressionKind::kItem: {
      const Value object = evaluate(*operands[0]);
      const Value key = evaluate(*operands[1]);
      at_ = expression.at;
      if (object.is_undefined()) {
        reject("'{}' is undefined, so it has no items", name_of(*operands[0]));
      }
      return item(object, key);
    }
    case ExpressionKind::kSlice:
      return evaluate_slice(expression);
    case ExpressionKind::kCall:
      return evaluate_call(expression);
    case ExpressionKind::kFilter: {
      const Value value = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      at_ = expression.at;
      return apply_filter(expression.name, value, arguments);
    }
    case ExpressionKind::kTest: {
      const Value value = evaluate(*operands[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      at_ = expression.at;
      return Value::boolean(apply_test(expression.name, value, arguments));
    }
    case ExpressionKind::kUnary:
      return evaluate_unary(expression);
    case ExpressionKind::kBinary: {
      const Value left = evaluate(*operands[0]);
      const Value right = evaluate(*operands[1]);
      at_ = expression.at;
      return binary(budget_, expression.op, left, right);
    }
    case ExpressionKind::kCompare:
      return evaluate_compare(expression);
    case ExpressionKind::kConcat:
      return evaluate_concat(expression);
    case ExpressionKind::kAnd: {
      Value left = evaluate(*operands[0]);
      return left.truth() ? evaluate(*operands[1]) : left;
    }
    case ExpressionKind::kOr: {
      Value left = evaluate(*operands[0]);
      return left.truth() ? left : evaluate(*operands[1]);
    }
    case ExpressionKind::kConditional:
      if (evaluate(*operands[0]).truth()) return evaluate(*operands[1]);
      return operands[2] != nullptr ? evaluate(*operands[2]) : Value();
    case ExpressionKind::kList:
      return evaluate_list(expression, ListKind::kList);
    case ExpressionKind::kTuple:
      return evaluate_list(expression, ListKind::kTuple);
    case ExpressionKind::kDict:
      return evaluate_dict(expression);
    case ExpressionKind::kConstant:
      return expression.constant;
    case ExpressionKind::kName:
      return lookup(expression.name);
  }
  return Value();
}

Value Interpreter::lookup(std::string_view name) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const Value* value = scope->find(name)) return *value;
  }
  if (const Value* value = context_.as_dict().find(name)) return *value;
  if (const BuiltinFunction function = find_function(name)) {
    return Value::function(budget_, function, Value());
  }
  return Value();
}

Value Interpreter::evaluate_call(const Expression& expression) {
  const Expression& callee = *expression.operands[0];
  if (callee.kind == ExpressionKind::kAttribute) {
    // A method, called without making a value of it first.
    const Value object = evaluate(*callee.operands[0]);
    at_ = callee.at;
    if (object.is_undefined()) {
      reject("'{}' is undefined, so it has no '{}'", name_of(*callee.operands[0]), callee.name);
    }
    if (const BuiltinFunction method = find_method(object, callee.name)) {
      const Arguments arguments = evaluate_arguments(expression.arguments);
      at_ = expression.at;
      return method(*this, object, arguments);
    }
    const Value function = attribute(object, callee.name);
    if (function.is_undefined()) reject("{} has no method '{}'", describe(object), callee.name);
    const Arguments arguments = evaluate_arguments(expression.arguments);
    at_ = expression.at;
    return call(function, arguments);
  }
  const Value function = evaluate(callee);
  const Arguments arguments = evaluate_arguments(expression.arguments);
  at_ = expression.at;
  if (function.is_undefined()) reject("'{}' is undefined, so it cannot be called", name_of(callee));
  return call(function, arguments);
}

Arguments Interpreter::evaluate_arguments(const std::vector<ArgumentExpression>& arguments) {
  Arguments result;
  for (const auto& argument : arguments) {
    Value value = evaluate(*argument.value);
    switch (argument.kind) {
      case ArgumentKind::kPositional:
        result.positional.push_back(std::move(value));
        break;
      case ArgumentKind::kNamed:
        result.named.push_back({argument.name, std::move(value)});
        break;
      case ArgumentKind::kSpread: {
        const Value items = sequence(value);
        budget_.expect(items.as_list().size() * sizeof(Value));
        budget_.step(static_cast<int64_t>(items.as_list().size()));
        for (const Value& item : items.as_list()) result.positional.push_back(item);
        break;
      }
      case ArgumentKind::kNamedSpread: {
        if (!value.is_dict()) reject("** needs an object, not {}", describe(value));
        budget_.step(static_cast<int64_t>(value.as_dict().entries.size()));
        for (const auto& [key, item] : value.as_dict().entries) {
          if (!key.is_string()) reject("** needs strings as keys, not {}", describe(key));
          result.named.push_back({key.as_text().bytes, item, key.as_text().wholly_trusted()});
        }
        break;
      }
    }
  }
  return result;
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.operands[0]);
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    const auto& part = expression.operands[i + 1];
    parts[i] = part != nullptr ? evaluate(*part) : Value::none();
  }
  at_ = expression.at;
  if (object.is_string()) {
    return text_slice(budget_, object.as_text(), parts[0], parts[1], parts[2]);
  }
  if (!object.is_list()) reject("{} cannot be sliced", describe(object));
  return list_slice(object, parts[0], parts[1], parts[2]);
}

Value Interpreter::list_slice(const Value& object, const Value& start, const Value& stop,
                              const Value& step) {
  const auto& items = object.as_list();
  const SliceIndices slice = slice_indices(start, stop, step, static_cast<int64_t>(items.size()));
  const size_t count = slice_count(slice);
  budget_.expect(count * sizeof(Value));
  std::vector<Value> result;
  result.reserve(count);
  int64_t index = slice.start;
  for (size_t i = 0; i < count; ++i) {
    result.push_back(items[static_cast<size_t>(index)]);
    if (i + 1 < count) index += slice.step;
  }
  return Value::list(budget_, std::move(result),
                     object.list_kind() == ListKind::kTuple ? ListKind::kTuple : ListKind::kList);
}

Value Interpreter::evaluate_unary(const Expression& expression) {
  const Value value = evaluate(*expression.operands[0]);
  at_ = expression.at;
  if (expression.op == Operator::kNot) return Value::boolean(!value.truth());
  if (expression.op == Operator::kNegate) return negate(value);
  if (!value.is_number()) reject("'+' cannot be applied to {}", describe(value));
  if (value.is(Kind::kBool)) {
    return Value::integer(value.as_integer()).set_untrusted(value.untrusted());
  }
  return value;
}

Value Interpreter::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.operands[0]);
  for (size_t i = 0; i < expression.comparisons.size(); ++i) {
    Value right = evaluate(*expression.operands[i + 1]);
    at_ = expression.at;
    if (!compare(budget_, expression.comparisons[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concat(const Expression& expression) {
  TextBuilder out(budget_);
  for (const auto& operand : expression.operands) append_string(out, evaluate(*operand));
  return Value::string(out);
}

Value Interpreter::evaluate_list(const Expression& expression, ListKind kind) {
  std::vector<Value> items;
  items.reserve(expression.operands.size());
  for (const auto& operand : expression.operands) items.push_back(evaluate(*operand));
  return Value::list(budget_, std::move(items), kind);
}

Value Interpreter::evaluate_dict(const Expression& expression) {
  std::vector<std::pair<Value, Value>> entries;
  entries.reserve(expression.operands.size() / 2);
  for (size_t i = 0; i + 1 < expression.operands.size(); i += 2) {
    Value key = evaluate(*expression.operands[i]);
    entries.emplace_back(std::move(key), evaluate(*expression.operands[i + 1]));
  }
  at_ = expression.at;
  return Value::dict(budget_, std::move(entries));
}

Value Interpreter::attribute(const Value& object, std::string_view name) {
  if (const BuiltinFunction method = find_method(object, name)) {
    return Value::function(budget_, method, object);
  }
  const Value* found = nullptr;
  switch (object.kind()) {
    case Kind::kUndefined:
      reject("an undefined value has no '{}'", name);
    case Kind::kDict:
      found = object.as_dict().find(name);
      break;
    case Kind::kNamespace:
      budget_.work(object.as_namespace().entries.size());
      found = object.as_namespace().find(name);
      break;
    case Kind::kLoop:
      return loop_attribute(object, name);
    default:
      break;
  }
  return found != nullptr ? *found : Value();
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) reject("an undefined value has no items");
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(key)) return *found;
  } else if (key.is_integral() && object.is_list()) {
    const auto size = static_cast<int64_t>(object.as_list().size());
    int64_t index = key.as_integer();
    if (index < -size || index >= size) return Value();
    if (index < 0) index += size;
    return object.as_list()[static_cast<size_t>(index)];
  } else if (key.is_integral() && object.is_string()) {
    const Text& text = object.as_text();
    budget_.work(text.size());
    int64_t index = key.as_integer();
    if (index < 0) {
      const auto size = static_cast<int64_t>(count_characters(text.view()));
      if (index < -size) return Value();
      index += size;
    }
    const size_t begin = character_offset(text.view(), static_cast<size_t>(index));
    if (begin >= text.size()) return Value();
    TextBuilder out(budget_);
    out.append(text, begin, next_character(text.view(), begin));
    return Value::string(out);
  }
  if (key.is_string()) return attribute(object, key.as_text().view());
  return Value();
}

Value Interpreter::sequence(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
      return value;
    case Kind::kUndefined:
      return Value::list(budget_, {});
    case Kind::kDict: {
      std::vector<Value> keys;
      const auto& entries = value.as_dict().entries;
      budget_.expect(entries.size() * sizeof(Value));
      keys.reserve(entries.size());
      for (const auto& entry : entries) keys.push_back(entry.first);
      return Value::list(budget_, std::move(keys));
    }
    case Kind::kString: {
      const Text& text = value.as_text();
      std::vector<Value> characters;
      for (size_t at = 0; at < text.size();) {
        const size_t next = next_character(text.view(), at);
        budget_.step();
        TextBuilder out(budget_);
        out.append(text, at, next);
        characters.push_back(Value::string(out));
        at = next;
      }
      return Value::list(budget_, std::move(characters));
    }
    default:
      reject("{} cannot be iterated over", describe(value));
  }
}

Value Interpreter::loop_attribute(const Value& value, std::string_view name) {
  const LoopObject& loop = value.as_loop();
  const auto& items = loop.items.as_list();
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(items.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(size - index);
  if (name == "revindex0") return Value::integer(size - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index == size - 1);
  if (name == "length") return Value::integer(size);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") return index > 0 ? items[loop.index - 1] : Value();
  if (name == "nextitem") return index + 1 < size ? items[loop.index + 1] : Value();
  return Value();
}

}  // namespace sluice::text::jinja
