// SPDX-License-Identifier: Apache-2.0
// Encodes texts for comparison with other tokenizers. Reads texts from standard input, each behind
// its length in bytes (32 bits, little-endian), and writes the token ids of each, comma-separated,
// as a line.
#include <cstdio>
#include <string>

#include "packed_vocabulary.h"

int main() {
  using namespace sluice::text;
  uint32_t length = 0;
  std::string text;
  while (std::fread(&length, sizeof(length), 1, stdin) == 1) {
    text.resize(length);
    if (std::fread(text.data(), 1, length, stdin) != length) {
      std::fprintf(stderr, "the input ends within a text\n");
      return 1;
    }
    const char* separator = "";
    for (const Token token : qwen3().encode(text, SpecialTokens::kParse)) {
      std::printf("%s%d", separator, token);
      separator = ",";
    }
    std::printf("\n");
  }
  return 0;
}
