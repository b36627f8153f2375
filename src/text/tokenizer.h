// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE with Qwen's pre-tokenizer. Pure functions over data: knows nothing of files.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::text {

using Token = int32_t;

enum class TokenKind : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// What a file says; texts of normal tokens and merges are in the byte-to-character alphabet.
struct TokenizerSpec {
  std::string model;          // tokenizer.ggml.model, "gpt2" here
  std::string pre_tokenizer;  // tokenizer.ggml.pre, "qwen2" here
  std::vector<std::string> tokens;
  std::vector<int32_t> kinds;            // empty: all normal
  std::vector<std::string> merges;       // "left right"
  std::vector<Token> end_of_generation;  // eos and the like from metadata; text rules add more
};

// A piece of a prompt. In trusted text (a chat template's own) every added token is recognised; in
// untrusted text (what people and tools wrote) none is, so content cannot forge a turn.
struct Segment {
  std::string text;
  bool trusted = false;
};

enum class SpecialTokens { kParse, kText };

class Tokenizer {
 public:
  // kBadFile names what is wrong (token and merge index); kUnsupported for other models. All 256
  // bytes must have tokens, so that every text can be encoded. Rows named "[PAD<id>]" count as
  // unused.
  static Result<Tokenizer> create(TokenizerSpec spec);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Invalid UTF-8 is replaced byte by byte with U+FFFD first. Text between added tokens is brought
  // to normal form C. Linear, whatever the text; safe to call from several threads.
  std::vector<Token> encode(std::string_view text, SpecialTokens special) const;
  // As one text: the pre-tokenizer sees across segment borders, only the recognition of added
  // tokens is limited to trusted segments (a match lies wholly inside one).
  std::vector<Token> encode(std::span<const Segment> segments) const;

  // The bytes of one token; added tokens give their text, unused ones nothing, as do ids outside
  // the vocabulary. May be half a character.
  std::string_view bytes(Token token) const;
  // Concatenated bytes; with `visible_only` control tokens are left out.
  std::string decode(std::span<const Token> tokens, bool visible_only) const;

  int64_t size() const;  // rows of the vocabulary, unused ones included
  TokenKind kind(Token token) const;
  bool is_end_of_generation(Token token) const;
  // The id of an added token by its text, or -1.
  Token find_added(std::string_view text) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns bytes of tokens into valid UTF-8 as they come: holds back an incomplete character, replaces
// what can never become one by U+FFFD: one for each maximal part of a character, as Unicode
// recommends, so the output does not depend on how the bytes were cut.
class Utf8Stream {
 public:
  // Returns what is complete.
  std::string push(std::string_view bytes);
  // Returns U+FFFD for a held-back incomplete character, else nothing.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace sluice::text
