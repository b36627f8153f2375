// SPDX-License-Identifier: Apache-2.0
// A parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  kConstant,
  kName,
  kBlockText,    // what a block rendered, as the operand of its filters
  kAttribute,    // operands: object
  kItem,         // operands: object, key
  kSlice,        // operands: object, start, stop, step (null if absent)
  kCall,         // operands: callee
  kFilter,       // operands: value
  kTest,         // operands: value
  kUnary,        // operands: value
  kBinary,       // operands: left, right
  kCompare,      // operands: first, and one for each of `comparisons`
  kConcat,       // operands: any number
  kAnd,          // operands: left, right
  kOr,           // operands: left, right
  kConditional,  // operands: condition, value, other (null if absent)
  kList,
  kTuple,
  kDict,  // operands: key, value, key, value, ...
};

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kNegate,
  kPlus,
  kNot,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

enum class ArgumentKind { kPositional, kNamed, kSpread, kNamedSpread };

struct ArgumentExpression {
  ArgumentKind kind = ArgumentKind::kPositional;
  std::string name;
  ExpressionPtr value;
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  Position at;
  int depth = 1;     // levels of expressions, this one included
  Value constant;    // kConstant
  std::string name;  // kName; the attribute, filter or test
  Operator op = Operator::kAdd;
  std::vector<Operator> comparisons;
  std::vector<ExpressionPtr> operands;
  std::vector<ArgumentExpression> arguments;
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExpressionPtr default_value;  // null if it has none
};

struct MacroDefinition {
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  // Which of the special names the body reads: only then it takes such arguments.
  bool reads_varargs = false;
  bool reads_kwargs = false;
  bool reads_caller = false;
};

enum class StatementKind {
  kText,
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kScope,  // with, generation
  kBreak,
  kContinue,
};

struct Branch {
  ExpressionPtr condition;  // null: else
  Body body;
};

struct Assignment {
  ExpressionPtr target;  // kName, kTuple of targets, or kAttribute of a name (a namespace's)
  ExpressionPtr value;   // kSetBlock: the filters on kBlockText
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  Position at;
  Value text;                           // kText
  ExpressionPtr expression;             // kOutput; kFor: iterable; kCallBlock; kFilterBlock
  ExpressionPtr condition;              // kFor: the filter, or null
  std::vector<Assignment> assignments;  // kSet, kSetBlock, kFor: the first only; kScope
  std::vector<Branch> branches;         // kIf
  Body body;
  Body alternative;                        // kFor: else
  std::unique_ptr<MacroDefinition> macro;  // kMacro, kCallBlock
};

}  // namespace sluice::text::jinja
