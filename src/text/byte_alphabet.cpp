// SPDX-License-Identifier: Apache-2.0
#include "text/byte_alphabet.h"

#include <array>

namespace sluice::text {
namespace {

constexpr int kCharacters = 0x144;
constexpr int16_t kNoByte = -1;

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kCharacters> byte{};
};

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(kNoByte);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = stands_for_itself(byte) ? byte : next++;
    alphabet.character[byte] = static_cast<uint16_t>(character);
    alphabet.byte[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void append_as_character(uint8_t byte, std::string& out) {
  const int character = kAlphabet.character[byte];
  if (character < 0x80) {
    out.push_back(static_cast<char>(character));
  } else {
    out.push_back(static_cast<char>(0xC0 | (character >> 6)));
    out.push_back(static_cast<char>(0x80 | (character & 0x3F)));
  }
}

bool append_as_bytes(std::string_view characters, std::string& out) {
  for (size_t i = 0; i < characters.size();) {
    int character = static_cast<uint8_t>(characters[i++]);
    if (character >= 0x80) {
      // The alphabet's other characters all take two bytes.
      if (character < 0xC2 || character > 0xDF || i == characters.size()) return false;
      const int low = static_cast<uint8_t>(characters[i++]);
      if ((low & 0xC0) != 0x80) return false;
      character = (character & 0x1F) << 6 | (low & 0x3F);
    }
    if (character >= kCharacters || kAlphabet.byte[character] == kNoByte) return false;
    out.push_back(static_cast<char>(kAlphabet.byte[character]));
  }
  return true;
}

}  // namespace sluice::text
