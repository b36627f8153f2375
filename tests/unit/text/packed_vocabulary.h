// SPDX-License-Identifier: Apache-2.0
// Qwen3's vocabulary out of tests/data/tokenizer/qwen_merges.bin, which tools/pack_vocabulary.py
// made.
#pragma once

#include "text/tokenizer.h"

namespace sluice::text {

inline constexpr Token kEndOfText = 151643;
inline constexpr Token kTurnStart = 151644;  // <|im_start|>
inline constexpr Token kTurnEnd = 151645;    // <|im_end|>
inline constexpr Token kFirstUnused = 151669;

// The 256 bytes as tokens 0 to 255, nothing else.
TokenizerSpec byte_spec();
// As a current GGUF of Qwen3 has it, with 151936 rows.
TokenizerSpec qwen3_spec();
const Tokenizer& qwen3();

}  // namespace sluice::text
