// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace sluice::text::jinja {

// Recursive descent. Throws Failure with the position: kBadFile for what is no template, kTooLarge
// for nesting beyond max_depth.
class Parser {
 public:
  Parser(std::string_view source, int max_depth);
  Body parse();

 private:
  class Level;  // one level of nesting while it lives

  // parser.cpp: statements
  Body body(std::initializer_list<std::string_view> ends);
  Statement statement();
  Statement if_statement();
  Statement for_statement();
  Statement set_statement();
  Statement macro_statement();
  Statement call_block();
  Statement filter_block();
  Statement with_statement();
  Statement generation_block();
  std::vector<Parameter> parameters();
  ExpressionPtr block_filters();
  ExpressionPtr target(bool attributes);
  ExpressionPtr single_target(bool attributes);
  void end_block(std::string_view name);
  void close_tag();

  // parser_expressions.cpp
  ExpressionPtr expression(bool conditional = true);
  ExpressionPtr tuple(bool conditional = true);
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool filters = true);
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr number();
  ExpressionPtr parenthesized();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr call(ExpressionPtr callee);
  ExpressionPtr filters_and_tests(ExpressionPtr value);
  ExpressionPtr filter(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
  std::vector<ArgumentExpression> call_arguments();

  ExpressionPtr make(ExpressionKind kind, Position at);
  void add(Expression& parent, ExpressionPtr operand);
  void note_depth(Expression& parent, const Expression& child);

  const TemplateToken& current() const { return tokens_[next_]; }
  const TemplateToken& ahead() const;
  const TemplateToken& advance();
  bool at_name(std::string_view name) const;
  bool at_operator(std::string_view sign) const;
  bool take_name(std::string_view name);
  bool take_operator(std::string_view sign);
  std::string expect_name(std::string_view what);
  void expect_operator(std::string_view sign);
  void expect_word(std::string_view word);
  [[noreturn]] void fail(Position at, std::string message) const;
  [[noreturn]] void unexpected(std::string_view wanted) const;

  std::vector<TemplateToken> tokens_;
  size_t next_ = 0;
  int max_depth_;
  int depth_ = 0;
  int loops_ = 0;  // loops around, within the same macro
  std::vector<MacroDefinition*> macros_;
  std::vector<Position> open_;  // where the statements begin that are not finished
};

}  // namespace sluice::text::jinja
