// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <optional>
#include <utility>

#include "base/check.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/pre_tokenizer.h"
#include "text/quoted.h"
#include "text/unicode.h"

namespace sluice::text {

struct Tokenizer::Impl {
  std::string arena;              // the bytes of all tokens, one after the other
  std::vector<uint32_t> offsets;  // size() + 1 of them
  std::vector<TokenKind> kinds;
  AddedTokens added;
  std::optional<PreTokenizer> pre_tokenizer;
  std::optional<Bpe> bpe;
  std::vector<Token> end_of_generation;  // sorted

  std::string_view bytes(size_t token) const {
    return std::string_view(arena).substr(offsets[token], offsets[token + 1] - offsets[token]);
  }

  Status read_tokens(const TokenizerSpec& spec);
  Status read_added_tokens();
  Status read_merges(const TokenizerSpec& spec);
  Status read_end_of_generation(const TokenizerSpec& spec);
  void append_tokens(std::string_view text, std::span<const AddedTokens::Match> matches,
                     std::vector<Token>& out) const;
};

namespace {

// A chat model that emits one of these has left the conversation, whatever the metadata say.
constexpr std::array<std::string_view, 5> kEndOfGeneration = {
    "<|im_end|>", "<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"};

constexpr size_t kMaxCount = size_t{1} << 28;  // tokens or merges, far above any vocabulary

// Rows that only fill up the embedding matrix; some conversions call them user-defined.
bool is_padding(std::string_view text, size_t token) {
  return text.starts_with("[PAD") && text == fmt::format("[PAD{}]", token);
}

TokenKind kind_of(const TokenizerSpec& spec, size_t token) {
  const auto kind =
      spec.kinds.empty() ? TokenKind::kNormal : static_cast<TokenKind>(spec.kinds[token]);
  const bool may_be_padding = kind == TokenKind::kUserDefined || kind == TokenKind::kNormal;
  return may_be_padding && is_padding(spec.tokens[token], token) ? TokenKind::kUnused : kind;
}

// From the texts of normal tokens to their ids; open addressing over ids.
class TokenIndex {
 public:
  explicit TokenIndex(const std::vector<std::string>& texts)
      : texts_(texts), slots_(std::bit_ceil(2 * texts.size() + 2), -1) {}

  // The token with this text, or -1.
  Token find(std::string_view text) const { return slots_[slot(text)]; }
  // Returns the token that has the text already, or -1 after adding.
  Token add(Token token) {
    Token& entry = slots_[slot(texts_[token])];
    if (entry < 0) {
      entry = token;
      return -1;
    }
    return entry;
  }

 private:
  size_t slot(std::string_view text) const {
    size_t i = std::hash<std::string_view>()(text) & (slots_.size() - 1);
    while (slots_[i] >= 0 && texts_[slots_[i]] != text) i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  const std::vector<std::string>& texts_;
  std::vector<Token> slots_;
};

}  // namespace

Status Tokenizer::Impl::read_tokens(const TokenizerSpec& spec) {
  const size_t n = spec.tokens.size();
  if (n > kMaxCount || spec.merges.size() > kMaxCount) {
    return fail(ErrorKind::kBadFile, "vocabulary: {} tokens and {} merges, at most {} are allowed",
                n, spec.merges.size(), kMaxCount);
  }
  if (!spec.kinds.empty() && spec.kinds.size() != n) {
    return fail(ErrorKind::kBadFile,
                "tokenizer.ggml.token_type has {} entries for {} tokens; they must be as many",
                spec.kinds.size(), n);
  }
  size_t total = 0;
  for (const auto& text : spec.tokens) total += text.size();
  if (total > UINT32_MAX) {
    return fail(ErrorKind::kBadFile, "tokenizer.ggml.tokens: {} bytes of text, at most {} allowed",
                total, UINT32_MAX);
  }
  arena.reserve(total);
  offsets.reserve(n + 1);
  kinds.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const std::string& text = spec.tokens[i];
    offsets.push_back(static_cast<uint32_t>(arena.size()));
    kinds.push_back(kind_of(spec, i));
    switch (kinds.back()) {
      case TokenKind::kNormal:
        if (text.empty() || !append_as_bytes(text, arena)) {
          return fail(ErrorKind::kBadFile,
                      "token {} is {}, which is not text in the alphabet of byte-level BPE", i,
                      quoted(text));
        }
        break;
      case TokenKind::kControl:
      case TokenKind::kUserDefined:
        if (text.empty() || text.size() > AddedTokens::kMaxLength) {
          return fail(ErrorKind::kBadFile, "added token {} has {} bytes, 1 to {} are allowed", i,
                      text.size(), AddedTokens::kMaxLength);
        }
        arena += text;
        break;
      case TokenKind::kUnknown:
        arena += text;
        break;
      case TokenKind::kUnused:
        break;
      default:
        return fail(ErrorKind::kBadFile,
                    "token {} ({}) has type {}; byte-level BPE has the types 1 to 5", i,
                    quoted(text), spec.kinds[i]);
    }
  }
  offsets.push_back(static_cast<uint32_t>(arena.size()));
  arena.shrink_to_fit();
  return {};
}

Status Tokenizer::Impl::read_added_tokens() {
  std::vector<AddedTokens::Entry> entries;
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] == TokenKind::kControl || kinds[i] == TokenKind::kUserDefined) {
      entries.push_back({bytes(i), static_cast<Token>(i)});
    }
  }
  added = AddedTokens(std::move(entries));
  if (const auto same = added.duplicate()) {
    return fail(ErrorKind::kBadFile, "added tokens {} and {} are both {}", same->first,
                same->second, quoted(bytes(same->first)));
  }
  return {};
}

Status Tokenizer::Impl::read_merges(const TokenizerSpec& spec) {
  TokenIndex index(spec.tokens);
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] != TokenKind::kNormal) continue;
    if (const Token other = index.add(static_cast<Token>(i)); other >= 0) {
      return fail(ErrorKind::kBadFile, "tokens {} and {} are both {}", other, i,
                  quoted(spec.tokens[i]));
    }
  }
  std::array<int32_t, 256> byte_tokens;
  for (int byte = 0; byte < 256; ++byte) {
    std::string character;
    append_as_character(static_cast<uint8_t>(byte), character);
    byte_tokens[byte] = index.find(character);
    if (byte_tokens[byte] < 0) {
      return fail(ErrorKind::kBadFile,
                  "tokenizer.ggml.tokens has no token for the byte 0x{:02x} ({})", byte,
                  quoted(character));
    }
  }
  bpe.emplace(byte_tokens, spec.merges.size());
  std::string joined;
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    const std::string& text = spec.merges[i];
    const size_t space = text.find(' ', 1);
    if (space == std::string::npos) {
      return fail(ErrorKind::kBadFile, "merge {} is {}: two tokens with a space between expected",
                  i, quoted(text));
    }
    const auto left = std::string_view(text).substr(0, space);
    const auto right = std::string_view(text).substr(space + 1);
    joined.assign(left).append(right);
    const Merge merge{index.find(left), index.find(right), index.find(joined)};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0) {
      const auto missing = merge.left < 0 ? left : merge.right < 0 ? right : joined;
      return fail(ErrorKind::kBadFile, "merge {} is {}, but {} is no token", i, quoted(text),
                  quoted(missing));
    }
    if (!bpe->add(merge)) {
      return fail(ErrorKind::kBadFile, "merge {} is {}, as an earlier one is", i, quoted(text));
    }
  }
  return {};
}

Status Tokenizer::Impl::read_end_of_generation(const TokenizerSpec& spec) {
  end_of_generation = spec.end_of_generation;
  for (const Token token : end_of_generation) {
    if (token < 0 || static_cast<size_t>(token) >= kinds.size()) {
      return fail(ErrorKind::kBadFile,
                  "end-of-generation token {} lies outside the vocabulary of {} tokens", token,
                  kinds.size());
    }
  }
  for (const auto text : kEndOfGeneration) {
    const Token token = added.find_exact(text);
    if (token >= 0 && kinds[token] == TokenKind::kControl) end_of_generation.push_back(token);
  }
  std::sort(end_of_generation.begin(), end_of_generation.end());
  return {};
}

// matches: added tokens in `text`, in order. The text between two of them is normalised and split
// into words on its own.
void Tokenizer::Impl::append_tokens(std::string_view text,
                                    std::span<const AddedTokens::Match> matches,
                                    std::vector<Token>& out) const {
  out.reserve(out.size() + text.size() / 4 + 1);
  BpeScratch scratch;
  std::string repaired, normalised;
  const auto append_piece = [&](std::string_view piece) {
    if (piece.empty()) return;
    const auto normal = to_nfc(repair_utf8(piece, repaired), normalised);
    PreTokenizer::Words words(*pre_tokenizer, normal);
    for (auto word = words.next(); !word.empty(); word = words.next()) {
      bpe->append_tokens(word, scratch, out);
    }
  };
  size_t begin = 0;
  for (const auto& match : matches) {
    append_piece(text.substr(begin, match.begin - begin));
    out.push_back(match.token);
    begin = match.begin + match.length;
  }
  append_piece(text.substr(begin));
}

Result<Tokenizer> Tokenizer::create(TokenizerSpec spec) {
  if (spec.model != "gpt2") {
    return fail(ErrorKind::kUnsupported,
                "tokenizer.ggml.model is {}: only 'gpt2' (byte-level BPE) is supported",
                quoted(spec.model));
  }
  if (spec.tokens.empty()) {
    return fail(ErrorKind::kBadFile, "tokenizer.ggml.tokens is empty or missing");
  }
  auto impl = std::make_unique<Impl>();
  auto pre_tokenizer = PreTokenizer::create(spec.pre_tokenizer);
  if (!pre_tokenizer) return fail(std::move(pre_tokenizer.error()));
  impl->pre_tokenizer.emplace(std::move(*pre_tokenizer));
  SLUICE_TRY(impl->read_tokens(spec));
  SLUICE_TRY(impl->read_added_tokens());
  SLUICE_TRY(impl->read_merges(spec));
  SLUICE_TRY(impl->read_end_of_generation(spec));
  return Tokenizer(std::move(impl));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<Token> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::vector<AddedTokens::Match> matches;
  if (special == SpecialTokens::kParse) {
    impl_->added.append_matches(text, 0, text.size(), matches);
  }
  std::vector<Token> out;
  impl_->append_tokens(text, matches, out);
  return out;
}

std::vector<Token> Tokenizer::encode(std::span<const Segment> segments) const {
  std::string text;
  size_t total = 0;
  for (const auto& segment : segments) total += segment.text.size();
  text.reserve(total);
  std::vector<AddedTokens::Match> matches;
  for (const auto& segment : segments) {
    const size_t begin = text.size();
    text += segment.text;
    if (segment.trusted) impl_->added.append_matches(text, begin, text.size(), matches);
  }
  std::vector<Token> out;
  impl_->append_tokens(text, matches, out);
  return out;
}

std::string_view Tokenizer::bytes(Token token) const {
  if (token < 0 || token >= size()) return {};
  return impl_->bytes(static_cast<size_t>(token));
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool visible_only) const {
  std::string out;
  for (const Token token : tokens) {
    if (visible_only && kind(token) == TokenKind::kControl) continue;
    out += bytes(token);
  }
  return out;
}

int64_t Tokenizer::size() const {
  return static_cast<int64_t>(impl_->kinds.size());
}

TokenKind Tokenizer::kind(Token token) const {
  if (token < 0 || token >= size()) return TokenKind::kUnused;
  return impl_->kinds[static_cast<size_t>(token)];
}

bool Tokenizer::is_end_of_generation(Token token) const {
  return std::binary_search(impl_->end_of_generation.begin(), impl_->end_of_generation.end(),
                            token);
}

Token Tokenizer::find_added(std::string_view text) const {
  return impl_->added.find_exact(text);
}

}  // namespace sluice::text
