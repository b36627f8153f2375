// SPDX-License-Identifier: Apache-2.0
// Random text that visits the odd corners of Unicode more often than people do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::text {

class RandomText {
 public:
  explicit RandomText(uint64_t seed) : state_(seed) {}

  uint32_t below(uint32_t bound);
  // Any code point but a surrogate; letters, marks, white space and signs above their share.
  char32_t character();
  // Valid UTF-8, neither composed nor decomposed.
  std::string text(int characters);

 private:
  uint64_t state_;
};

// The normal form C as utf8proc makes it.
std::string composed(const std::string& text);

// Factor for time limits: sanitizers are slow.
int slowness();

}  // namespace sluice::text
