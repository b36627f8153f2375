// SPDX-License-Identifier: Apache-2.0
// UTF-8 and canonical composition (NFC), both safe and linear on any input.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::text {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8Status {
  kValid,
  kInvalid,     // `length` bytes can never be the beginning of a character
  kIncomplete,  // the text ends within a character
};

struct Utf8Character {
  Utf8Status status;
  char32_t code_point;  // 0 unless valid
  size_t length;        // at least 1; for invalid ones the maximal part that began validly, or 1
};

// The first character of `text`, which must not be empty. Overlong forms, surrogates and everything
// above U+10FFFF are invalid at the first byte that makes them so (Unicode, table 3-7).
Utf8Character decode_utf8(std::string_view text);
void append_utf8(char32_t code_point, std::string& out);

// `text` itself if it is valid; else `storage`, holding it with every byte that is not part of a
// valid character replaced by U+FFFD.
std::string_view repair_utf8(std::string_view text, std::string& storage);

// `text` (valid UTF-8) itself if it is in normal form C, else `storage`, holding its normal form.
std::string_view to_nfc(std::string_view text, std::string& storage);

}  // namespace sluice::text
