// SPDX-License-Identifier: Apache-2.0
// What stands after "is".
#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

// Kinds that need no argument.
template <bool (*matches)(const Value&)>
bool kind_test(Interpreter&, const Value& value, const Arguments& arguments) {
  arguments.bind("the test", {});
  return matches(value);
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined(const Value& value) {
  return value.is_undefined();
}
bool is_none(const Value& value) {
  return value.is_none();
}
bool is_boolean(const Value& value) {
  return value.is(Kind::kBool);
}
bool is_true(const Value& value) {
  return value.is(Kind::kBool) && value.as_bool();
}
bool is_false(const Value& value) {
  return value.is(Kind::kBool) && !value.as_bool();
}
bool is_string(const Value& value) {
  return value.is_string();
}
bool is_mapping(const Value& value) {
  return value.is_dict();
}
bool is_callable(const Value& value) {
  return value.is(Kind::kFunction);
}
bool is_number(const Value& value) {
  return value.is_number();
}
bool is_float(const Value& value) {
  return value.is(Kind::kFloat);
}
bool is_integer(const Value& value) {
  return value.is(Kind::kInt) || value.is(Kind::kBigInt);
}
bool never(const Value&) {
  return false;
}
bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_list() || value.is_dict() ||
         value.is(Kind::kLoop);
}
bool is_sequence(const Value& value) {
  if (value.is_list()) {
    return value.list_kind() == ListKind::kList || value.list_kind() == ListKind::kTuple;
  }
  return value.is_string() || value.is_dict() || value.is_undefined();
}

template <CharacterClass wanted>
bool case_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("the test", {});
  return is_all(in.budget(), to_string(in.budget(), value).as_text().view(), wanted);
}

template <Operator op>
bool compare_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("the test", {"other"});
  return compare(in.budget(), op, value, required("the test", "other", given[0]));
}

bool same_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("sameas", {"other"});
  const Value& other = required("sameas", "other", given[0]);
  if (value.kind() != other.kind()) return false;
  const bool by_value = value.is_number() || value.is_none() || value.is_undefined();
  return by_value ? equal(in.budget(), value, other) : value.identity() == other.identity();
}

bool divides(Interpreter& in, const Value& value, int64_t by) {
  const Value rest = binary(in.budget(), Operator::kModulo, value, Value::integer(by));
  return rest.is_number() && !rest.truth();
}

bool even_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("even", {});
  return divides(in, value, 2);
}

bool odd_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind("odd", {});
  return !divides(in, value, 2);
}

bool divisible_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind("divisibleby", {"num"});
  required("divisibleby", "num", given[0]);
  return divides(in, value, integer_argument("divisibleby", "num", given[0], 1));
}

bool filter_test(Interpreter&, const Value& value, const Arguments& arguments) {
  arguments.bind("filter", {});
  return value.is_string() && find_filter(value.as_text().view()) != nullptr;
}

bool test_test(Interpreter&, const Value& value, const Arguments& arguments) {
  arguments.bind("test", {});
  return value.is_string() && find_test(value.as_text().view()) != nullptr;
}

struct TestEntry {
  std::string_view name;
  TestFunction function;
};

constexpr TestEntry kTests[] = {
    {"!=", compare_test<Operator::kNotEqual>},
    {"<", compare_test<Operator::kLess>},
    {"<=", compare_test<Operator::kLessEqual>},
    {"==", compare_test<Operator::kEqual>},
    {">", compare_test<Operator::kGreater>},
    {">=", compare_test<Operator::kGreaterEqual>},
    {"boolean", kind_test<is_boolean>},
    {"callable", kind_test<is_callable>},
    {"defined", kind_test<is_defined>},
    {"divisibleby", divisible_test},
    {"eq", compare_test<Operator::kEqual>},
    {"equalto", compare_test<Operator::kEqual>},
    {"escaped", kind_test<never>},
    {"even", even_test},
    {"false", kind_test<is_false>},
    {"filter", filter_test},
    {"float", kind_test<is_float>},
    {"ge", compare_test<Operator::kGreaterEqual>},
    {"greaterthan", compare_test<Operator::kGreater>},
    {"gt", compare_test<Operator::kGreater>},
    {"in", compare_test<Operator::kIn>},
    {"integer", kind_test<is_integer>},
    {"iterable", kind_test<is_iterable>},
    {"le", compare_test<Operator::kLessEqual>},
    {"lessthan", compare_test<Operator::kLess>},
    {"lower", case_test<CharacterClass::kLower>},
    {"lt", compare_test<Operator::kLess>},
    {"mapping", kind_test<is_mapping>},
    {"ne", compare_test<Operator::kNotEqual>},
    {"none", kind_test<is_none>},
    {"number", kind_test<is_number>},
    {"odd", odd_test},
    {"sameas", same_test},
    {"sequence", kind_test<is_sequence>},
    {"string", kind_test<is_string>},
    {"test", test_test},
    {"true", kind_test<is_true>},
    {"undefined", kind_test<is_undefined>},
    {"upper", case_test<CharacterClass::kUpper>},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const TestEntry& entry : kTests) {
    if (entry.name == name) return entry.function;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
