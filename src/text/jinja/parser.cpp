// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/parser.h"

#include <algorithm>
#include <utility>

#include "text/jinja/parser_internal.h"

namespace sluice::text::jinja {

namespace {

std::string show(const TemplateToken& token) {
  switch (token.type) {
    case TokenType::kEnd:
      return "the end of the template";
    case TokenType::kBlockEnd:
      return "'%}'";
    case TokenType::kOutputEnd:
      return "'}}'";
    case TokenType::kString:
      return "a string";
    case TokenType::kText:
    case TokenType::kBlockBegin:
    case TokenType::kOutputBegin:
      return "text";
    default:
      return fmt::format("'{}'", token.text.substr(0, 40));
  }
}

}  // namespace

Parser::Parser(std::string_view source, int max_depth)
    : tokens_(tokenize_template(source)), max_depth_(max_depth) {}

Body Parser::parse() {
  return body({});
}

void Parser::fail(Position at, std::string message) const {
  throw Failure{ErrorKind::kBadFile, std::move(message), at};
}

void Parser::unexpected(std::string_view wanted) const {
  fail(current().at, fmt::format("expected {}, found {}", wanted, show(current())));
}

const TemplateToken& Parser::ahead() const {
  return tokens_[std::min(next_ + 1, tokens_.size() - 1)];
}

const TemplateToken& Parser::advance() {
  const TemplateToken& token = tokens_[next_];
  if (next_ + 1 < tokens_.size()) ++next_;
  return token;
}

bool Parser::at_name(std::string_view name) const {
  return current().type == TokenType::kName && current().text == name;
}

bool Parser::at_operator(std::string_view sign) const {
  return current().type == TokenType::kOperator && current().text == sign;
}

bool Parser::take_name(std::string_view name) {
  if (!at_name(name)) return false;
  advance();
  return true;
}

bool Parser::take_operator(std::string_view sign) {
  if (!at_operator(sign)) return false;
  advance();
  return true;
}

std::string Parser::expect_name(std::string_view what) {
  if (current().type != TokenType::kName) unexpected(what);
  return advance().text;
}

void Parser::expect_operator(std::string_view sign) {
  if (!take_operator(sign)) unexpected(fmt::format("'{}'", sign));
}

void Parser::expect_word(std::string_view word) {
  if (!take_name(word)) unexpected(fmt::format("'{}'", word));
}

void Parser::close_tag() {
  if (current().type != TokenType::kBlockEnd) unexpected("'%}'");
  advance();
}

// Statements up to a block that begins with one of `ends`, whose tag is left open before its name.
Body Parser::body(std::initializer_list<std::string_view> ends) {
  const Level level(*this);
  Body statements;
  for (;;) {
    switch (current().type) {
      case TokenType::kText: {
        Statement text;
        text.at = current().at;
        text.text = Value::string(nullptr, Text::trusted(advance().text));
        statements.push_back(std::move(text));
        break;
      }
      case TokenType::kOutputBegin: {
        Statement output;
        output.kind = StatementKind::kOutput;
        output.at = advance().at;
        output.expression = tuple();
        if (current().type != TokenType::kOutputEnd) unexpected("'}}'");
        advance();
        statements.push_back(std::move(output));
        break;
      }
      case TokenType::kBlockBegin: {
        advance();
        const bool done = current().type == TokenType::kName &&
                          std::find(ends.begin(), ends.end(), current().text) != ends.end();
        if (done) return statements;
        statements.push_back(statement());
        break;
      }
      case TokenType::kEnd:
        if (ends.size() == 0) return statements;
        fail(open_.back(), fmt::format("block without its end '{}'", *(ends.end() - 1)));
      default:
        unexpected("text or a tag");
    }
  }
}

void Parser::end_block(std::string_view name) {
  expect_word(name);
  close_tag();
}

Statement Parser::statement() {
  const Position at = current().at;
  const std::string name = expect_name("a statement");
  open_.push_back(at);
  Statement result;
  if (name == "if") {
    result = if_statement();
  } else if (name == "for") {
    result = for_statement();
  } else if (name == "set") {
    result = set_statement();
  } else if (name == "macro") {
    result = macro_statement();
  } else if (name == "call") {
    result = call_block();
  } else if (name == "filter") {
    result = filter_block();
  } else if (name == "with") {
    result = with_statement();
  } else if (name == "generation") {
    result = generation_block();
  } else if (name == "break" || name == "continue") {
    if (loops_ == 0) fail(at, fmt::format("'{}' outside of a loop", name));
    result.kind = name == "break" ? StatementKind::kBreak : StatementKind::kContinue;
    close_tag();
  } else {
    fail(at, fmt::format("unknown statement '{}'", name));
  }
  open_.pop_back();
  result.at = at;
  return result;
}

Statement Parser::if_statement() {
  Statement result;
  result.kind = StatementKind::kIf;
  for (;;) {
    Branch branch;
    branch.condition = tuple(false);
    close_tag();
    branch.body = body({"elif", "else", "endif"});
    result.branches.push_back(std::move(branch));
    if (take_name("elif")) continue;
    if (take_name("else")) {
      close_tag();
      Branch other;
      other.body = body({"endif"});
      result.branches.push_back(std::move(other));
    }
    end_block("endif");
    return result;
  }
}

Statement Parser::for_statement() {
  Statement result;
  result.kind = StatementKind::kFor;
  Assignment assignment;
  assignment.target = target(false);
  result.assignments.push_back(std::move(assignment));
  expect_word("in");
  result.expression = tuple(false);
  if (take_name("if")) result.condition = expression();
  if (at_name("recursive")) fail(current().at, "recursive loops are not supported");
  close_tag();
  ++loops_;
  result.body = body({"else", "endfor"});
  --loops_;
  if (take_name("else")) {
    close_tag();
    result.alternative = body({"endfor"});
  }
  end_block("endfor");
  return result;
}

Statement Parser::set_statement() {
  Statement result;
  Assignment assignment;
  assignment.target = target(true);
  if (take_operator("=")) {
    result.kind = StatementKind::kSet;
    assignment.value = tuple();
    close_tag();
  } else {
    result.kind = StatementKind::kSetBlock;
    assignment.value = block_filters();
    close_tag();
    result.body = body({"endset"});
    end_block("endset");
  }
  result.assignments.push_back(std::move(assignment));
  return result;
}

// Filters applied to the text of a block: "| trim | upper".
ExpressionPtr Parser::block_filters() {
  ExpressionPtr value = make(ExpressionKind::kBlockText, current().at);
  while (take_operator("|")) value = filter(std::move(value));
  return value;
}

std::vector<Parameter> Parser::parameters() {
  std::vector<Parameter> result;
  expect_operator("(");
  while (!at_operator(")")) {
    if (!result.empty()) {
      expect_operator(",");
      if (at_operator(")")) break;
    }
    const Position at = current().at;
    Parameter parameter;
    parameter.name = expect_name("a parameter");
    for (const Parameter& other : result) {
      if (other.name == parameter.name) fail(at, "two parameters of the same name");
    }
    if (take_operator("=")) {
      parameter.default_value = expression();
    } else if (!result.empty() && result.back().default_value != nullptr) {
      fail(at, "parameter without a default after one with a default");
    }
    result.push_back(std::move(parameter));
  }
  expect_operator(")");
  return result;
}

Statement Parser::macro_statement() {
  Statement result;
  result.kind = StatementKind::kMacro;
  result.macro = std::make_unique<MacroDefinition>();
  result.macro->name = expect_name("the macro's name");
  macros_.push_back(result.macro.get());
  const int loops = std::exchange(loops_, 0);
  result.macro->parameters = parameters();
  close_tag();
  result.macro->body = body({"endmacro"});
  loops_ = loops;
  macros_.pop_back();
  end_block("endmacro");
  return result;
}

Statement Parser::call_block() {
  Statement result;
  result.kind = StatementKind::kCallBlock;
  result.macro = std::make_unique<MacroDefinition>();
  result.macro->name = "caller";
  if (at_operator("(")) result.macro->parameters = parameters();
  const Position at = current().at;
  result.expression = expression();
  if (result.expression->kind != ExpressionKind::kCall) fail(at, "expected a call");
  close_tag();
  macros_.push_back(result.macro.get());
  const int loops = std::exchange(loops_, 0);
  result.macro->body = body({"endcall"});
  loops_ = loops;
  macros_.pop_back();
  end_block("endcall");
  // What the block reads, the macro around it has to be given.
  if (!macros_.empty()) {
    macros_.back()->reads_caller |= result.macro->reads_caller;
    macros_.back()->reads_varargs |= result.macro->reads_varargs;
    macros_.back()->reads_kwargs |= result.macro->reads_kwargs;
  }
  result.macro->reads_caller = result.macro->reads_varargs = result.macro->reads_kwargs = false;
  return result;
}

Statement Parser::filter_block() {
  Statement result;
  result.kind = StatementKind::kFilterBlock;
  result.expression = filter(make(ExpressionKind::kBlockText, current().at));
  while (take_operator("|")) result.expression = filter(std::move(result.expression));
  close_tag();
  result.body = body({"endfilter"});
  end_block("endfilter");
  return result;
}

Statement Parser::with_statement() {
  Statement result;
  result.kind = StatementKind::kScope;
  while (current().type != TokenType::kBlockEnd) {
    if (!result.assignments.empty()) expect_operator(",");
    Assignment assignment;
    assignment.target = single_target(false);
    expect_operator("=");
    assignment.value = expression();
    result.assignments.push_back(std::move(assignment));
  }
  close_tag();
  result.body = body({"endwith"});
  end_block("endwith");
  return result;
}

// Marks the assistant's part for training: rendered as if it were not there.
Statement Parser::generation_block() {
  Statement result;
  result.kind = StatementKind::kScope;
  close_tag();
  result.body = body({"endgeneration"});
  end_block("endgeneration");
  return result;
}

ExpressionPtr Parser::single_target(bool attributes) {
  const Level level(*this);
  const Position at = current().at;
  if (take_operator("(")) {
    ExpressionPtr inner = target(attributes);
    expect_operator(")");
    return inner;
  }
  ExpressionPtr name = make(ExpressionKind::kName, at);
  name->name = expect_name("a variable");
  static constexpr std::string_view kConstants[] = {"true", "false", "none",
                                                    "True", "False", "None"};
  if (std::find(std::begin(kConstants), std::end(kConstants), name->name) != std::end(kConstants)) {
    fail(at, fmt::format("cannot assign to '{}'", name->name));
  }
  if (!attributes || !take_operator(".")) return name;
  ExpressionPtr attribute = make(ExpressionKind::kAttribute, at);
  attribute->name = expect_name("an attribute");
  add(*attribute, std::move(name));
  return attribute;
}

ExpressionPtr Parser::target(bool attributes) {
  const Position at = current().at;
  ExpressionPtr first = single_target(attributes);
  if (!at_operator(",")) return first;
  ExpressionPtr result = make(ExpressionKind::kTuple, at);
  add(*result, std::move(first));
  while (take_operator(",")) {
    if (current().type != TokenType::kName && !at_operator("(")) break;
    if (at_name("in")) break;
    add(*result, single_target(attributes));
  }
  return result;
}

}  // namespace sluice::text::jinja
