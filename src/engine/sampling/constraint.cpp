// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/constraint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include "base/check.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/matcher.h"
#include "text/grammar/program.h"

namespace sluice::engine {
namespace {

namespace tg = text::grammar;

constexpr float kBanned = -std::numeric_limits<float>::infinity();

// [bits of a byte][8]: all ones where the bit is set, so that eight logits are masked at once.
using Lanes = std::array<uint32_t, 8>;
constexpr std::array<Lanes, 256> kLanes = [] {
  std::array<Lanes, 256> table{};
  for (size_t bits = 0; bits < 256; ++bits)
    for (size_t i = 0; i < 8; ++i) table[bits][i] = (bits >> i & 1) != 0 ? UINT32_MAX : 0;
  return table;
}();

void keep_lanes(float* logits, uint8_t bits) {
  constexpr auto kBannedBits = std::bit_cast<uint32_t>(kBanned);
  const Lanes& lanes = kLanes[bits];
  for (size_t i = 0; i < 8; ++i) {
    const auto logit = std::bit_cast<uint32_t>(logits[i]);
    logits[i] = std::bit_cast<float>((logit & lanes[i]) | (kBannedBits & ~lanes[i]));
  }
}

void mask_logits(std::span<float> logits, const std::vector<uint64_t>& words) {
  size_t i = 0;
  for (const uint64_t word : words) {
    const size_t count = std::min<size_t>(64, logits.size() - i);
    if (word == 0) {
      std::fill_n(logits.begin() + static_cast<std::ptrdiff_t>(i), count, kBanned);
    } else if (count == 64 && word != UINT64_MAX) {
      for (size_t byte = 0; byte < 8; ++byte)
        keep_lanes(logits.data() + i + 8 * byte, static_cast<uint8_t>(word >> (8 * byte)));
    } else if (word != UINT64_MAX) {
      for (size_t bit = 0; bit < count; ++bit)
        if ((word >> bit & 1) == 0) logits[i + bit] = kBanned;
    }
    i += count;
  }
}

}  // namespace

std::shared_ptr<const GrammarVocabulary> GrammarVocabulary::create(const text::Tokenizer& tokenizer,
                                                                   int64_t rows) {
  SLUICE_CHECK(rows >= tokenizer.size(), "one logit per token");
  auto out = std::make_shared<GrammarVocabulary>();
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  for (text::Token token = 0; token < tokenizer.size(); ++token) {
    if (tokenizer.is_end_of_generation(token)) {
      out->end_of_generation_.push_back(token);
      continue;
    }
    const text::TokenKind kind = tokenizer.kind(token);
    const std::string_view bytes = tokenizer.bytes(token);
    if ((kind == text::TokenKind::kNormal || kind == text::TokenKind::kUserDefined ||
         kind == text::TokenKind::kByte) &&
        !bytes.empty() && bytes.size() < UINT16_MAX)
      tokens.emplace_back(bytes, token);
  }
  out->tokenizer_ = &tokenizer;
  out->trie_ = std::make_shared<tg::TokenTrie>(std::move(tokens), static_cast<size_t>(rows));
  return out;
}

struct Constraint::Impl {
  std::shared_ptr<const GrammarVocabulary> vocabulary;
  std::shared_ptr<const tg::Program> program;
  tg::Trigger trigger;
  Notes notes;
  tg::Matcher matcher;
};

Constraint::Constraint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Constraint::Constraint(Constraint&&) noexcept = default;
Constraint& Constraint::operator=(Constraint&&) noexcept = default;
Constraint::~Constraint() = default;

Result<Constraint> Constraint::from_grammar(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                            tg::SchemaGrammar grammar, const tg::Trigger& trigger) {
  SLUICE_ASSIGN(tg::Program compiled, tg::compile(grammar.grammar));
  auto program = std::make_shared<const tg::Program>(std::move(compiled));
  const auto& trie = vocabulary->trie();
  return Constraint(
      std::make_unique<Impl>(Impl{vocabulary, program, trigger, std::move(grammar.notes),
                                  tg::Matcher(program, trie, trigger)}));
}

Result<Constraint> Constraint::from_gbnf(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                         std::string_view source, const tg::Trigger& trigger) {
  SLUICE_ASSIGN(tg::Grammar grammar, tg::parse_gbnf(source));
  return from_grammar(std::move(vocabulary), {std::move(grammar), {}}, trigger);
}

Result<Constraint> Constraint::from_schema(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                           const nlohmann::ordered_json& schema,
                                           const tg::Trigger& trigger) {
  SLUICE_ASSIGN(tg::SchemaGrammar made, tg::grammar_of_schema(schema));
  return from_grammar(std::move(vocabulary), std::move(made), trigger);
}

Result<Constraint> Constraint::from_schema(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                           std::string_view schema, const tg::Trigger& trigger) {
  SLUICE_ASSIGN(tg::SchemaGrammar made, tg::grammar_of_schema(schema));
  return from_grammar(std::move(vocabulary), std::move(made), trigger);
}

Result<Constraint> Constraint::any_object(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                          const tg::Trigger& trigger) {
  return from_grammar(std::move(vocabulary), {tg::grammar_of_any_object(), {}}, trigger);
}

Status Constraint::apply(std::span<float> logits) {
  SLUICE_CHECK(logits.size() == impl_->vocabulary->trie()->vocabulary(), "one logit per token");
  SLUICE_ASSIGN(const tg::TokenMask* mask, impl_->matcher.mask());
  // A mask has few words, and the end of generation few tokens: they are put back afterwards.
  std::array<std::pair<text::Token, float>, 16> kept{};
  size_t count = 0;
  if (mask->free) {
    // Only texts that go wrong right behind the trigger are out; tokens without text may come.
    for (const text::Token token : mask->refused) logits[static_cast<size_t>(token)] = kBanned;
    return {};
  }
  if (mask->may_end)
    for (const text::Token token : impl_->vocabulary->end_of_generation())
      if (count < kept.size()) kept[count++] = {token, logits[static_cast<size_t>(token)]};
  mask_logits(logits, mask->words);
  for (size_t i = 0; i < count; ++i) logits[static_cast<size_t>(kept[i].first)] = kept[i].second;
  if (std::ranges::none_of(logits, [](float logit) { return logit > kBanned; }))
    return fail(
        ErrorKind::kUsage,
        "the grammar allows no token here that is not forbidden otherwise: check logit_bias "
        "and ignore_eos, or end the grammar with something that may end");
  return {};
}

bool Constraint::accept(text::Token token) {
  Impl& s = *impl_;
  const text::Tokenizer& tokenizer = s.vocabulary->tokenizer();
  if (tokenizer.is_end_of_generation(token)) return s.matcher.may_end();
  const text::TokenKind kind = tokenizer.kind(token);
  const std::string_view bytes = tokenizer.bytes(token);
  // Where the text is free, a trigger may be a control token.
  if (kind == text::TokenKind::kControl || kind == text::TokenKind::kUnused ||
      kind == text::TokenKind::kUnknown || bytes.empty())
    return s.matcher.free() && s.matcher.accept(bytes);
  return s.matcher.accept(bytes);
}

bool Constraint::may_end() const {
  return impl_->matcher.may_end();
}

bool Constraint::done() const {
  return impl_->matcher.done();
}

void Constraint::reset() {
  impl_->matcher.reset();
}

Constraint Constraint::fork() const {
  const Impl& s = *impl_;
  return Constraint(
      std::make_unique<Impl>(Impl{s.vocabulary, s.program, s.trigger, s.notes,
                                  tg::Matcher(s.program, s.vocabulary->trie(), s.trigger)}));
}

const Constraint::Notes& Constraint::notes() const {
  return impl_->notes;
}

size_t Constraint::bytes() const {
  return impl_->matcher.bytes();
}

size_t Constraint::grammar_bytes() const {
  const tg::Program& p = *impl_->program;
  return p.nodes.size() * sizeof(tg::Node) + p.targets.size() * sizeof(tg::NodeId) +
         p.byte_sets.size() * sizeof(tg::ByteSet) + p.repeats.size() * sizeof(tg::Repeat) +
         p.entries.size() * sizeof(tg::NodeId);
}

tl::unexpected<Error> against_the_grammar(text::Token token) {
  return fail(ErrorKind::kUsage,
              "token {} was chosen against the grammar: check logit_bias and ignore_eos", token);
}

}  // namespace sluice::engine
