// SPDX-License-Identifier: Apache-2.0
// The alphabet in which vocabularies of byte-level BPE are written: every byte is one visible
// character. 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves, the other 68 bytes in
// increasing order for U+0100, U+0101, ..., U+0143.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::text {

// Appends the UTF-8 of the character that stands for `byte`.
void append_as_character(uint8_t byte, std::string& out);

// Appends the bytes that `characters` stands for; false (with `out` partly extended) if it holds
// anything outside the alphabet.
bool append_as_bytes(std::string_view characters, std::string& out);

}  // namespace sluice::text
