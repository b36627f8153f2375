// SPDX-License-Identifier: Apache-2.0
// Holds a generated text to a grammar or a JSON schema: tokens that it does not allow are taken out
// of the logits before the sampling chain sees them.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar/automaton.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/token_trie.h"
#include "text/tokenizer.h"

namespace sluice::engine {

// What a vocabulary's tokens look like to a grammar; made once per model, and shared. Control
// tokens and those without text are never part of a grammar's text.
class GrammarVocabulary {
 public:
  // rows: logits of the model, at least the tokenizer's size. The tokenizer must outlive it.
  static std::shared_ptr<const GrammarVocabulary> create(const text::Tokenizer& tokenizer,
                                                         int64_t rows);
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::shared_ptr<const text::grammar::TokenTrie>& trie() const { return trie_; }
  const std::vector<text::Token>& end_of_generation() const { return end_of_generation_; }

 private:
  const text::Tokenizer* tokenizer_ = nullptr;
  std::shared_ptr<const text::grammar::TokenTrie> trie_;
  std::vector<text::Token> end_of_generation_;
};

// One text. Copies of the compiled grammar are shared by fork(); not thread-safe.
class Constraint {
 public:
  using Notes = std::vector<text::grammar::SchemaNote>;

  // GBNF. Errors: see text/grammar/gbnf.h and program.h.
  static Result<Constraint> from_gbnf(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                      std::string_view source,
                                      const text::grammar::Trigger& trigger = {});
  // notes() tells what of the schema is not held. Errors: see text/grammar/json_schema.h.
  static Result<Constraint> from_schema(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                        const nlohmann::ordered_json& schema,
                                        const text::grammar::Trigger& trigger = {});
  static Result<Constraint> from_schema(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                        std::string_view schema,
                                        const text::grammar::Trigger& trigger = {});
  // Any JSON object.
  static Result<Constraint> any_object(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                       const text::grammar::Trigger& trigger = {});
  // Of a grammar that was made otherwise. kUsage and kTooLarge: see text/grammar/program.h.
  static Result<Constraint> from_grammar(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                         text::grammar::SchemaGrammar grammar,
                                         const text::grammar::Trigger& trigger = {});
  Constraint(Constraint&&) noexcept;
  Constraint& operator=(Constraint&&) noexcept;
  ~Constraint();

  // logits: [rows]. Those of tokens that cannot come next become -inf; tokens that end the
  // generation are left only where the text may end. kTooLarge for a grammar that is too ambiguous
  // to follow, kUsage where no token is left (all that could come were -inf before).
  Status apply(std::span<float> logits);
  // Tells of the token that was chosen. False, and nothing changed, if it cannot come.
  bool accept(text::Token token);
  bool may_end() const;  // the text so far is complete
  bool done() const;  // ... and nothing can follow: generation should stop (with a trigger: only if
                      // that is for once)
  void reset();       // to the beginning
  Constraint fork() const;  // the same grammar, at the beginning

  const Notes& notes() const;
  size_t bytes() const;          // of what is kept for this text's masks
  size_t grammar_bytes() const;  // of what forks share

 private:
  struct Impl;
  explicit Constraint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Of a sampler that had to choose a token which the constraint had taken out.
tl::unexpected<Error> against_the_grammar(text::Token token);

}  // namespace sluice::engine
