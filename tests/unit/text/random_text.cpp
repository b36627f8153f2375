// SPDX-License-Identifier: Apache-2.0
#include "random_text.h"

#include <utf8proc.h>

#include <cstdlib>

#include "text/unicode.h"

namespace sluice::text {
namespace {

struct Range {
  char32_t first, last;
};
constexpr Range kRanges[] = {
    {0x20, 0x7E},       {'a', 'z'},         {'a', 'z'},         {'0', '9'},
    {0x9, 0xD},         {0x20, 0x20},       {0x27, 0x27},       {0x85, 0x17F},
    {0x300, 0x36F},     {0x300, 0x315},     {0x370, 0x5FF},     {0x600, 0x6FF},
    {0x900, 0xDFF},     {0xE00, 0xFFF},     {0x1100, 0x11FF},   {0x1E00, 0x1FFF},
    {0x2000, 0x206F},   {0x2100, 0x218F},   {0x3000, 0x30FF},   {0x4E00, 0x9FFF},
    {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE00, 0xFE0F},   {0xFF00, 0xFFFF},
    {0x10000, 0x11FFF}, {0x1D100, 0x1D7FF}, {0x1F300, 0x1FAFF}, {0x2F800, 0x2FA1F},
    {0x0, 0xD7FF},      {0xE000, 0x10FFFF},
};

}  // namespace

uint32_t RandomText::below(uint32_t bound) {
  state_ = state_ * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>((state_ >> 32) * bound >> 32);
}

char32_t RandomText::character() {
  const Range& range = kRanges[below(std::size(kRanges))];
  const char32_t c = range.first + below(range.last - range.first + 1);
  return c == 0x11A7 ? 0x11A8 : c;  // utf8proc, which is the truth for composed(), is wrong there
}

std::string RandomText::text(int characters) {
  std::string out;
  for (int i = 0; i < characters; ++i) append_utf8(character(), out);
  return out;
}

std::string composed(const std::string& text) {
  utf8proc_uint8_t* result = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (length < 0) std::abort();
  std::string out(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
  std::free(result);
  return out;
}

int slowness() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
  return 20;
#else
  return 1;
#endif
}

}  // namespace sluice::text
