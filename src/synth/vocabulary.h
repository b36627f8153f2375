// SPDX-License-Identifier: Apache-2.0
// A vocabulary for models without a language: byte-level BPE of the right size, whose tokens are
// pronounceable syllables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/writer.h"

namespace sluice::synth {

struct Vocabulary {
  std::vector<std::string> tokens;  // in the byte-to-character alphabet
  std::vector<int32_t> kinds;       // text::TokenKind
  std::vector<std::string> merges;
  int32_t end_of_text = 0;
  int32_t end_of_turn = 0;
  int64_t ordinary = 0;  // ids below this are text, the rest is control tokens and padding
};

inline constexpr int64_t kLeastVocabulary = 512;

// `size` tokens: the 256 bytes, one token for each merge, 26 added tokens (those of ChatML among
// them) and, in large vocabularies, padding rows, as Qwen's has them. At least kLeastVocabulary.
Vocabulary make_vocabulary(int64_t size);

// Also a ChatML template.
void set_metadata(const Vocabulary& vocabulary, gguf::Writer& writer);

}  // namespace sluice::synth
