// SPDX-License-Identifier: Apache-2.0
// Arithmetic and comparison as in Python, except that integers have 64 bits.
#include <cmath>
#include <utility>

#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

[[noreturn]] void overflow() {
  exceed("integer overflow: results must fit in 64 bits");
}

[[noreturn]] void no_operator(std::string_view sign, const Value& left, const Value& right) {
  reject("'{}' cannot be applied to {} and {}", sign, describe(left), describe(right));
}

std::string_view sign_of(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    default:
      return "**";
  }
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) reject("division by zero");
  if (b == -1) {
    int64_t result = 0;
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) overflow();
    return result;
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

int64_t modulo(int64_t a, int64_t b) {
  if (b == 0) reject("division by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (;;) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) overflow();
  }
}

Value real_result(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b);
    case Operator::kSubtract:
      return Value::real(a - b);
    case Operator::kMultiply:
      return Value::real(a * b);
    case Operator::kPower: {
      if (a == 0 && b < 0) reject("zero cannot be raised to a negative power");
      const double result = std::pow(a, b);
      if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) {
        reject("a negative number cannot be raised to a fraction");
      }
      return Value::real(result);
    }
    default:
      break;
  }
  if (b == 0) reject("division by zero");
  if (op == Operator::kDivide) return Value::real(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return Value::real(op == Operator::kModulo ? rest : std::floor((a - rest) / b + 0.5));
}

Value integer_result(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) overflow();
      return Value::integer(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) overflow();
      return Value::integer(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) overflow();
      return Value::integer(result);
    case Operator::kFloorDivide:
      return Value::integer(floor_divide(a, b));
    case Operator::kModulo:
      return Value::integer(modulo(a, b));
    case Operator::kPower:
      if (b >= 0) return Value::integer(integer_power(a, b));
      [[fallthrough]];
    default:
      return real_result(op, static_cast<double>(a), static_cast<double>(b));
  }
}

Value repeated(Budget& budget, const Value& value, int64_t count) {
  const auto times = static_cast<size_t>(std::max<int64_t>(count, 0));
  if (value.is_string()) {
    TextBuilder out(budget);
    out.append_repeated(value.as_text(), times);
    return Value::string(out);
  }
  const auto& items = value.as_list();
  const size_t total = budget.product(items.size(), times);
  budget.expect(budget.product(total, sizeof(Value)));
  std::vector<Value> result;
  result.reserve(total);
  for (size_t i = 0; i < times && !items.empty(); ++i) {
    budget.step();
    result.insert(result.end(), items.begin(), items.end());
  }
  return Value::list(budget, std::move(result), value.list_kind());
}

Value joined_lists(Budget& budget, const Value& left, const Value& right) {
  const auto& a = left.as_list();
  const auto& b = right.as_list();
  budget.expect((a.size() + b.size()) * sizeof(Value));
  std::vector<Value> result;
  result.reserve(a.size() + b.size());
  result.insert(result.end(), a.begin(), a.end());
  result.insert(result.end(), b.begin(), b.end());
  const bool tuple = left.list_kind() == ListKind::kTuple;
  return Value::list(budget, std::move(result), tuple ? ListKind::kTuple : ListKind::kList);
}

bool is_tuple(const Value& value) {
  return value.list_kind() == ListKind::kTuple;
}

bool is_repeatable(const Value& value) {
  return value.is_string() || value.is_list();
}

bool contains(Budget& budget, const Value& container, const Value& value) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!value.is_string()) reject("'in' a string needs a string, not {}", describe(value));
      budget.work(container.as_text().size());
      return find_bytes(container.as_text().view(), value.as_text().view(), 0) !=
             std::string_view::npos;
    case Kind::kList:
      for (const Value& item : container.as_list()) {
        if (equal(budget, item, value)) return true;
      }
      return false;
    case Kind::kDict:
      if (!hash_key(value)) reject("{} cannot be a key", describe(value));
      return container.as_dict().find(value) != nullptr;
    default:
      reject("'in' cannot be applied to {}", describe(container));
  }
}

}  // namespace

Value negate(const Value& value) {
  if (value.is_integral()) {
    return Value(integer_result(Operator::kSubtract, 0, value.as_integer()))
        .set_untrusted(value.untrusted());
  }
  if (!value.is(Kind::kFloat)) reject("'-' cannot be applied to {}", describe(value));
  return Value::real(-value.as_real()).set_untrusted(value.untrusted());
}

Value binary(Budget& budget, Operator op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is(Kind::kBigInt) || right.is(Kind::kBigInt)) overflow();
    const bool integers = left.is_integral() && right.is_integral();
    Value result = integers ? integer_result(op, left.as_integer(), right.as_integer())
                            : real_result(op, static_cast<double>(left.number()),
                                          static_cast<double>(right.number()));
    return result.set_untrusted(left.untrusted() || right.untrusted());
  }
  if (op == Operator::kAdd) {
    if (left.is_string() && right.is_string()) {
      TextBuilder out(budget);
      out.append(left.as_text());
      out.append(right.as_text());
      return Value::string(out);
    }
    if (left.is_list() && right.is_list() && is_tuple(left) == is_tuple(right)) {
      return joined_lists(budget, left, right);
    }
  }
  if (op == Operator::kMultiply) {
    if (is_repeatable(left) && right.is_integral()) {
      return repeated(budget, left, right.as_integer());
    }
    if (is_repeatable(right) && left.is_integral()) {
      return repeated(budget, right, left.as_integer());
    }
  }
  if (op == Operator::kModulo && left.is_string()) return format_percent(budget, left, right);
  no_operator(sign_of(op), left, right);
}

bool compare(Budget& budget, Operator op, const Value& left, const Value& right) {
  switch (op) {
    case Operator::kEqual:
      return equal(budget, left, right);
    case Operator::kNotEqual:
      return !equal(budget, left, right);
    case Operator::kLess:
      return less(budget, left, right);
    case Operator::kGreater:
      return less(budget, right, left);
    case Operator::kLessEqual:
      return less(budget, left, right) || equal(budget, left, right);
    case Operator::kGreaterEqual:
      return less(budget, right, left) || equal(budget, left, right);
    case Operator::kIn:
      return contains(budget, right, left);
    default:
      return !contains(budget, right, left);
  }
}

}  // namespace sluice::text::jinja
