// SPDX-License-Identifier: Apache-2.0
// Texts against grammars, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/matcher.h"
#include "text/grammar/program.h"

namespace sluice::text::grammar {

// The 256 bytes as tokens of the same number.
inline std::shared_ptr<const TokenTrie> byte_trie() {
  static const std::string bytes = [] {
    std::string all;
    for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
    return all;
  }();
  static const auto trie = [] {
    std::vector<std::pair<std::string_view, int32_t>> tokens;
    for (size_t b = 0; b < 256; ++b)
      tokens.emplace_back(std::string_view(bytes).substr(b, 1), static_cast<int32_t>(b));
    return std::make_shared<const TokenTrie>(std::move(tokens), 256);
  }();
  return trie;
}

inline std::shared_ptr<const Program> compiled(const Grammar& grammar) {
  auto program = compile(grammar);
  if (!program) throw std::runtime_error(program.error().message);
  return std::make_shared<const Program>(std::move(*program));
}

inline std::shared_ptr<const Program> gbnf(std::string_view source) {
  auto grammar = parse_gbnf(source);
  if (!grammar) throw std::runtime_error(grammar.error().message);
  return compiled(*grammar);
}

// The message of the error that the source gives, or "".
inline std::string gbnf_error(std::string_view source) {
  auto grammar = parse_gbnf(source);
  if (!grammar) return grammar.error().message;
  auto program = compile(*grammar);
  return program ? std::string() : program.error().message;
}

struct Schema {
  std::shared_ptr<const Program> program;
  std::vector<std::string> notes;
};

inline Schema schema(std::string_view text) {
  auto made = grammar_of_schema(text);
  if (!made) throw std::runtime_error(made.error().message);
  Schema out{compiled(made->grammar), {}};
  for (const SchemaNote& note : made->notes) out.notes.push_back(describe(note));
  return out;
}

inline std::string schema_error(std::string_view text) {
  const auto made = grammar_of_schema(text);
  return made ? std::string() : made.error().message;
}

// The whole text, and nothing but a beginning of it.
inline bool matches(const std::shared_ptr<const Program>& program, std::string_view text) {
  Matcher matcher(program, byte_trie());
  return matcher.accept(text) && matcher.may_end();
}

inline bool begins(const std::shared_ptr<const Program>& program, std::string_view text) {
  return Matcher(program, byte_trie()).accept(text);
}

}  // namespace sluice::text::grammar
