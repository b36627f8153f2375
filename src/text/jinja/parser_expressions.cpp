// SPDX-License-Identifier: Apache-2.0
// Expressions, from the loosest binding to the tightest.
#include <algorithm>
#include <charconv>
#include <utility>

#include "text/jinja/parser.h"
#include "text/jinja/parser_internal.h"

namespace sluice::text::jinja {

namespace {

struct Sign {
  std::string_view text;
  Operator op;
};

constexpr Sign kComparisons[] = {{"==", Operator::kEqual},  {"!=", Operator::kNotEqual},
                                 {"<", Operator::kLess},    {"<=", Operator::kLessEqual},
                                 {">", Operator::kGreater}, {">=", Operator::kGreaterEqual}};
constexpr Sign kSums[] = {{"+", Operator::kAdd}, {"-", Operator::kSubtract}};
constexpr Sign kProducts[] = {{"*", Operator::kMultiply},
                              {"/", Operator::kDivide},
                              {"//", Operator::kFloorDivide},
                              {"%", Operator::kModulo}};

template <size_t kCount>
const Sign* find_sign(const Sign (&signs)[kCount], const TemplateToken& token) {
  if (token.type != TokenType::kOperator) return nullptr;
  const Sign* found = std::find_if(std::begin(signs), std::end(signs),
                                   [&](const Sign& sign) { return sign.text == token.text; });
  return found == std::end(signs) ? nullptr : found;
}

}  // namespace

ExpressionPtr Parser::make(ExpressionKind kind, Position at) {
  auto result = std::make_unique<Expression>();
  result->kind = kind;
  result->at = at;
  return result;
}

void Parser::note_depth(Expression& parent, const Expression& child) {
  parent.depth = std::max(parent.depth, child.depth + 1);
  if (parent.depth > max_depth_) {
    throw Failure{ErrorKind::kTooLarge,
                  fmt::format("nests deeper than {} levels (limit depth)", max_depth_), parent.at};
  }
}

void Parser::add(Expression& parent, ExpressionPtr operand) {
  if (operand != nullptr) note_depth(parent, *operand);
  parent.operands.push_back(std::move(operand));
}

ExpressionPtr Parser::expression(bool conditional) {
  const Level level(*this);
  ExpressionPtr value = disjunction();
  while (conditional && at_name("if")) {
    ExpressionPtr choice = make(ExpressionKind::kConditional, advance().at);
    ExpressionPtr condition = disjunction();
    ExpressionPtr other = take_name("else") ? expression() : nullptr;
    add(*choice, std::move(condition));
    add(*choice, std::move(value));
    add(*choice, std::move(other));
    value = std::move(choice);
  }
  return value;
}

// One expression, or several separated by commas, which make a tuple.
ExpressionPtr Parser::tuple(bool conditional) {
  const Position at = current().at;
  ExpressionPtr first = expression(conditional);
  if (!at_operator(",")) return first;
  ExpressionPtr result = make(ExpressionKind::kTuple, at);
  add(*result, std::move(first));
  while (take_operator(",")) {
    const TokenType type = current().type;
    if (type == TokenType::kBlockEnd || type == TokenType::kOutputEnd || at_operator(")")) break;
    add(*result, expression(conditional));
  }
  return result;
}

ExpressionPtr Parser::disjunction() {
  ExpressionPtr left = conjunction();
  while (at_name("or")) {
    ExpressionPtr result = make(ExpressionKind::kOr, advance().at);
    add(*result, std::move(left));
    add(*result, conjunction());
    left = std::move(result);
  }
  return left;
}

ExpressionPtr Parser::conjunction() {
  ExpressionPtr left = negation();
  while (at_name("and")) {
    ExpressionPtr result = make(ExpressionKind::kAnd, advance().at);
    add(*result, std::move(left));
    add(*result, negation());
    left = std::move(result);
  }
  return left;
}

ExpressionPtr Parser::negation() {
  if (!at_name("not")) return comparison();
  const Level level(*this);
  ExpressionPtr result = make(ExpressionKind::kUnary, advance().at);
  result->op = Operator::kNot;
  add(*result, negation());
  return result;
}

ExpressionPtr Parser::comparison() {
  ExpressionPtr left = sum();
  ExpressionPtr result;
  for (;;) {
    const Position at = current().at;
    Operator op = Operator::kIn;
    if (const Sign* sign = find_sign(kComparisons, current())) {
      op = sign->op;
      advance();
    } else if (at_name("not") && ahead().type == TokenType::kName && ahead().text == "in") {
      op = Operator::kNotIn;
      advance();
      advance();
    } else if (!take_name("in")) {
      return result != nullptr ? std::move(result) : std::move(left);
    }
    if (result == nullptr) {
      result = make(ExpressionKind::kCompare, at);
      add(*result, std::move(left));
    }
    result->comparisons.push_back(op);
    add(*result, sum());
  }
}

ExpressionPtr Parser::sum() {
  ExpressionPtr left = concatenation();
  while (const Sign* sign = find_sign(kSums, current())) {
    ExpressionPtr result = make(ExpressionKind::kBinary, advance().at);
    result->op = sign->op;
    add(*result, std::move(left));
    add(*result, concatenation());
    left = std::move(result);
  }
  return left;
}

ExpressionPtr Parser::concatenation() {
  ExpressionPtr first = product();
  if (!at_operator("~")) return first;
  ExpressionPtr result = make(ExpressionKind::kConcat, current().at);
  add(*result, std::move(first));
  while (take_operator("~")) add(*result, product());
  return result;
}

ExpressionPtr Parser::product() {
  ExpressionPtr left = power();
  while (const Sign* sign = find_sign(kProducts, current())) {
    ExpressionPtr result = make(ExpressionKind::kBinary, advance().at);
    result->op = sign->op;
    add(*result, std::move(left));
    add(*result, power());
    left = std::move(result);
  }
  return left;
}

ExpressionPtr Parser::power() {
  ExpressionPtr left = unary();
  while (at_operator("**")) {
    ExpressionPtr result = make(ExpressionKind::kBinary, advance().at);
    result->op = Operator::kPower;
    add(*result, std::move(left));
    add(*result, unary());
    left = std::move(result);
  }
  return left;
}

// A sign binds tighter than filters: -1|abs is (-1)|abs.
ExpressionPtr Parser::unary(bool filters) {
  const Level level(*this);
  ExpressionPtr value;
  if (at_operator("-") || at_operator("+")) {
    const Operator op = at_operator("-") ? Operator::kNegate : Operator::kPlus;
    value = make(ExpressionKind::kUnary, advance().at);
    value->op = op;
    add(*value, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::primary() {
  switch (current().type) {
    case TokenType::kName:
      return name_or_constant();
    case TokenType::kInteger:
    case TokenType::kFloat:
      return number();
    case TokenType::kString: {
      ExpressionPtr result = make(ExpressionKind::kConstant, current().at);
      std::string text;
      while (current().type == TokenType::kString) text += advance().text;
      result->constant = Value::string(nullptr, Text::trusted(std::move(text)));
      return result;
    }
    case TokenType::kOperator:
      if (at_operator("(")) return parenthesized();
      if (at_operator("[")) return list();
      if (at_operator("{")) return dict();
      [[fallthrough]];
    default:
      unexpected("an expression");
  }
}

ExpressionPtr Parser::name_or_constant() {
  const TemplateToken& token = advance();
  ExpressionPtr result = make(ExpressionKind::kConstant, token.at);
  if (token.text == "true" || token.text == "True") {
    result->constant = Value::boolean(true);
  } else if (token.text == "false" || token.text == "False") {
    result->constant = Value::boolean(false);
  } else if (token.text == "none" || token.text == "None") {
    result->constant = Value::none();
  } else {
    result->kind = ExpressionKind::kName;
    result->name = token.text;
    if (!macros_.empty()) {
      macros_.back()->reads_varargs |= token.text == "varargs";
      macros_.back()->reads_kwargs |= token.text == "kwargs";
      macros_.back()->reads_caller |= token.text == "caller";
    }
  }
  return result;
}

ExpressionPtr Parser::number() {
  const TemplateToken& token = advance();
  ExpressionPtr result = make(ExpressionKind::kConstant, token.at);
  const char* end = token.text.data() + token.text.size();
  if (token.type == TokenType::kInteger) {
    int64_t value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
      fail(token.at, "integer is too large");
    }
    result->constant = Value::integer(value);
  } else {
    double value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
      fail(token.at, "number is out of range");
    }
    result->constant = Value::real(value);
  }
  return result;
}

ExpressionPtr Parser::parenthesized() {
  const Position at = advance().at;
  if (take_operator(")")) return make(ExpressionKind::kTuple, at);
  ExpressionPtr result = tuple();
  expect_operator(")");
  return result;
}

ExpressionPtr Parser::list() {
  ExpressionPtr result = make(ExpressionKind::kList, advance().at);
  while (!at_operator("]")) {
    add(*result, expression());
    if (!take_operator(",")) break;
  }
  expect_operator("]");
  return result;
}

ExpressionPtr Parser::dict() {
  ExpressionPtr result = make(ExpressionKind::kDict, advance().at);
  while (!at_operator("}")) {
    add(*result, expression());
    expect_operator(":");
    add(*result, expression());
    if (!take_operator(",")) break;
  }
  expect_operator("}");
  return result;
}

ExpressionPtr Parser::postfix(ExpressionPtr value) {
  for (;;) {
    if (at_operator(".") || at_operator("[")) {
      value = subscript(std::move(value));
    } else if (at_operator("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPtr Parser::subscript(ExpressionPtr object) {
  const Position at = current().at;
  if (take_operator(".")) {
    if (current().type == TokenType::kInteger) {
      ExpressionPtr result = make(ExpressionKind::kItem, at);
      add(*result, std::move(object));
      add(*result, number());
      return result;
    }
    ExpressionPtr result = make(ExpressionKind::kAttribute, at);
    result->name = expect_name("an attribute");
    add(*result, std::move(object));
    return result;
  }
  advance();
  ExpressionPtr parts[3];
  int colons = 0;
  while (!at_operator("]")) {
    if (take_operator(":")) {
      if (++colons > 2) unexpected("']'");
      continue;
    }
    if (parts[colons] != nullptr) unexpected("']'");
    parts[colons] = colons == 0 ? tuple() : expression();
  }
  if (colons == 0 && parts[0] == nullptr) unexpected("an index");
  ExpressionPtr result = make(colons == 0 ? ExpressionKind::kItem : ExpressionKind::kSlice, at);
  expect_operator("]");
  add(*result, std::move(object));
  for (int i = 0; i < (colons == 0 ? 1 : 3); ++i) add(*result, std::move(parts[i]));
  return result;
}

ExpressionPtr Parser::call(ExpressionPtr callee) {
  ExpressionPtr result = make(ExpressionKind::kCall, current().at);
  result->arguments = call_arguments();
  for (const auto& argument : result->arguments) note_depth(*result, *argument.value);
  add(*result, std::move(callee));
  return result;
}

std::vector<ArgumentExpression> Parser::call_arguments() {
  std::vector<ArgumentExpression> result;
  expect_operator("(");
  ArgumentKind last = ArgumentKind::kPositional;
  while (!at_operator(")")) {
    if (!result.empty()) {
      expect_operator(",");
      if (at_operator(")")) break;
    }
    const Position at = current().at;
    ArgumentExpression argument;
    if (take_operator("*")) {
      argument.kind = ArgumentKind::kSpread;
    } else if (take_operator("**")) {
      argument.kind = ArgumentKind::kNamedSpread;
    } else if (current().type == TokenType::kName && ahead().type == TokenType::kOperator &&
               ahead().text == "=") {
      argument.kind = ArgumentKind::kNamed;
      argument.name = advance().text;
      advance();
    }
    if (argument.kind == ArgumentKind::kPositional && last != ArgumentKind::kPositional) {
      fail(at, "positional argument after a named one");
    }
    last = argument.kind;
    argument.value = expression();
    result.push_back(std::move(argument));
  }
  expect_operator(")");
  return result;
}

ExpressionPtr Parser::filters_and_tests(ExpressionPtr value) {
  for (;;) {
    if (take_operator("|")) {
      value = filter(std::move(value));
    } else if (take_name("is")) {
      value = test(std::move(value));
    } else if (at_operator("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

// After the '|'.
ExpressionPtr Parser::filter(ExpressionPtr value) {
  ExpressionPtr result = make(ExpressionKind::kFilter, current().at);
  result->name = expect_name("a filter");
  if (at_operator("(")) result->arguments = call_arguments();
  for (const auto& argument : result->arguments) note_depth(*result, *argument.value);
  add(*result, std::move(value));
  return result;
}

// After 'is'. A test's argument may stand without parentheses.
ExpressionPtr Parser::test(ExpressionPtr value) {
  const bool negated = take_name("not");
  ExpressionPtr result = make(ExpressionKind::kTest, current().at);
  result->name = expect_name("a test");
  static constexpr std::string_view kAfterwards[] = {"else", "or", "and", "if", "is", "in", "not"};
  const bool word = current().type == TokenType::kName &&
                    std::find(std::begin(kAfterwards), std::end(kAfterwards), current().text) ==
                        std::end(kAfterwards);
  if (at_operator("(")) {
    result->arguments = call_arguments();
  } else if (word || current().type == TokenType::kString ||
             current().type == TokenType::kInteger || current().type == TokenType::kFloat ||
             at_operator("[") || at_operator("{")) {
    const Level level(*this);
    ArgumentExpression argument;
    argument.value = postfix(primary());
    result->arguments.push_back(std::move(argument));
  }
  for (const auto& argument : result->arguments) note_depth(*result, *argument.value);
  add(*result, std::move(value));
  if (!negated) return result;
  ExpressionPtr inverse = make(ExpressionKind::kUnary, result->at);
  inverse->op = Operator::kNot;
  add(*inverse, std::move(result));
  return inverse;
}

}  // namespace sluice::text::jinja
