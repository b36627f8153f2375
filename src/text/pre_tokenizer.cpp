// SPDX-License-Identifier: Apache-2.0
#include "text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <limits>
#include <utility>

#include "base/check.h"
#include "text/quoted.h"

namespace sluice::text {
namespace {

// Unicode's White_Space. Not \s, in which PCRE2 includes U+180E.
#define WHITE_SPACE                                                                               \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{" \
  "205f}\\x{3000}"

// Alternatives in order of preference at each position: contractions; a run of letters with at most
// one sign or space before it; one digit; a run of signs, with a space before and line ends after
// it; white space up to its last line end; white space up to the last one before a word; other
// white space.
constexpr std::string_view kQwen2 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
    "|\\p{N}"
    "| ?[^" WHITE_SPACE
    "\\p{L}\\p{N}]+[\\r\\n]*"
    "|[" WHITE_SPACE
    "]*[\\r\\n]+"
    "|[" WHITE_SPACE "]+(?![^" WHITE_SPACE
    "])"
    "|[" WHITE_SPACE "]+";
#undef WHITE_SPACE

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;

}  // namespace

struct PreTokenizer::Impl {
  Code code;
  MatchContext context;
  bool compiled = false;  // to machine code; not where memory cannot be made executable
};

struct PreTokenizer::Words::State {
  const Impl* impl;
  MatchData match;
  std::string_view text;
  size_t position = 0;
};

Result<PreTokenizer> PreTokenizer::create(std::string_view name) {
  if (name != "qwen2") {
    return fail(ErrorKind::kUnsupported,
                "tokenizer.ggml.pre is {}: only 'qwen2' is supported; use a model with Qwen's "
                "tokenizer",
                quoted(name));
  }
  auto impl = std::make_unique<Impl>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kQwen2.data()), kQwen2.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, nullptr));
  SLUICE_CHECK(impl->code != nullptr, "the expression of the pre-tokenizer compiles");
  impl->compiled = pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE) == 0;
  impl->context.reset(pcre2_match_context_create(nullptr));
  SLUICE_CHECK(impl->context != nullptr, "memory for a match context");
  // The expression backtracks over white space alone, so the work for one word is linear in its
  // length and the part of the run after it; a fixed limit would only break long runs.
  pcre2_set_match_limit(impl->context.get(), std::numeric_limits<uint32_t>::max());
  return PreTokenizer(std::move(impl));
}

PreTokenizer::PreTokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

PreTokenizer::Words::Words(const PreTokenizer& pre_tokenizer, std::string_view text)
    : state_(std::make_unique<State>()) {
  state_->impl = pre_tokenizer.impl_.get();
  state_->match.reset(pcre2_match_data_create(1, nullptr));
  SLUICE_CHECK(state_->match != nullptr, "memory for a match");
  state_->text = text;
}

PreTokenizer::Words::~Words() = default;

std::string_view PreTokenizer::Words::next() {
  State& s = *state_;
  if (s.position == s.text.size()) return {};
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(s.text.data());
  const auto match = s.impl->compiled ? pcre2_jit_match : pcre2_match;
  const int found = match(s.impl->code.get(), subject, s.text.size(), s.position,
                          PCRE2_NO_UTF_CHECK, s.match.get(), s.impl->context.get());
  size_t end = found > 0 ? pcre2_get_ovector_pointer(s.match.get())[1] : 0;
  SLUICE_CHECK(end > s.position, "every character is matched by some alternative");
  const auto word = s.text.substr(s.position, end - s.position);
  s.position = end;
  return word;
}

}  // namespace sluice::text
