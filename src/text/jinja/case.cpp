// SPDX-License-Identifier: Apache-2.0
// Case and classes of characters, as Python's str has them.
#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "text/jinja/strings.h"

namespace sluice::text::jinja {

namespace {

struct LongUpper {
  char32_t from;
  std::array<char32_t, 3> to;  // filled up with 0
};

// Characters whose upper case is more than one character (Unicode, SpecialCasing).
constexpr LongUpper kLongUpper[] = {
    {0x00DF, {0x0053, 0x0053}},         {0x0149, {0x02BC, 0x004E}},
    {0x01F0, {0x004A, 0x030C}},         {0x0390, {0x0399, 0x0308, 0x0301}},
    {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0552}},
    {0x1E96, {0x0048, 0x0331}},         {0x1E97, {0x0054, 0x0308}},
    {0x1E98, {0x0057, 0x030A}},         {0x1E99, {0x0059, 0x030A}},
    {0x1E9A, {0x0041, 0x02BE}},         {0x1F50, {0x03A5, 0x0313}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}},
    {0x1F56, {0x03A5, 0x0313, 0x0342}}, {0x1F80, {0x1F08, 0x0399}},
    {0x1F81, {0x1F09, 0x0399}},         {0x1F82, {0x1F0A, 0x0399}},
    {0x1F83, {0x1F0B, 0x0399}},         {0x1F84, {0x1F0C, 0x0399}},
    {0x1F85, {0x1F0D, 0x0399}},         {0x1F86, {0x1F0E, 0x0399}},
    {0x1F87, {0x1F0F, 0x0399}},         {0x1F88, {0x1F08, 0x0399}},
    {0x1F89, {0x1F09, 0x0399}},         {0x1F8A, {0x1F0A, 0x0399}},
    {0x1F8B, {0x1F0B, 0x0399}},         {0x1F8C, {0x1F0C, 0x0399}},
    {0x1F8D, {0x1F0D, 0x0399}},         {0x1F8E, {0x1F0E, 0x0399}},
    {0x1F8F, {0x1F0F, 0x0399}},         {0x1F90, {0x1F28, 0x0399}},
    {0x1F91, {0x1F29, 0x0399}},         {0x1F92, {0x1F2A, 0x0399}},
    {0x1F93, {0x1F2B, 0x0399}},         {0x1F94, {0x1F2C, 0x0399}},
    {0x1F95, {0x1F2D, 0x0399}},         {0x1F96, {0x1F2E, 0x0399}},
    {0x1F97, {0x1F2F, 0x0399}},         {0x1F98, {0x1F28, 0x0399}},
    {0x1F99, {0x1F29, 0x0399}},         {0x1F9A, {0x1F2A, 0x0399}},
    {0x1F9B, {0x1F2B, 0x0399}},         {0x1F9C, {0x1F2C, 0x0399}},
    {0x1F9D, {0x1F2D, 0x0399}},         {0x1F9E, {0x1F2E, 0x0399}},
    {0x1F9F, {0x1F2F, 0x0399}},         {0x1FA0, {0x1F68, 0x0399}},
    {0x1FA1, {0x1F69, 0x0399}},         {0x1FA2, {0x1F6A, 0x0399}},
    {0x1FA3, {0x1F6B, 0x0399}},         {0x1FA4, {0x1F6C, 0x0399}},
    {0x1FA5, {0x1F6D, 0x0399}},         {0x1FA6, {0x1F6E, 0x0399}},
    {0x1FA7, {0x1F6F, 0x0399}},         {0x1FA8, {0x1F68, 0x0399}},
    {0x1FA9, {0x1F69, 0x0399}},         {0x1FAA, {0x1F6A, 0x0399}},
    {0x1FAB, {0x1F6B, 0x0399}},         {0x1FAC, {0x1F6C, 0x0399}},
    {0x1FAD, {0x1F6D, 0x0399}},         {0x1FAE, {0x1F6E, 0x0399}},
    {0x1FAF, {0x1F6F, 0x0399}},         {0x1FB2, {0x1FBA, 0x0399}},
    {0x1FB3, {0x0391, 0x0399}},         {0x1FB4, {0x0386, 0x0399}},
    {0x1FB6, {0x0391, 0x0342}},         {0x1FB7, {0x0391, 0x0342, 0x0399}},
    {0x1FBC, {0x0391, 0x0399}},         {0x1FC2, {0x1FCA, 0x0399}},
    {0x1FC3, {0x0397, 0x0399}},         {0x1FC4, {0x0389, 0x0399}},
    {0x1FC6, {0x0397, 0x0342}},         {0x1FC7, {0x0397, 0x0342, 0x0399}},
    {0x1FCC, {0x0397, 0x0399}},         {0x1FD2, {0x0399, 0x0308, 0x0300}},
    {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342}},
    {0x1FD7, {0x0399, 0x0308, 0x0342}}, {0x1FE2, {0x03A5, 0x0308, 0x0300}},
    {0x1FE3, {0x03A5, 0x0308, 0x0301}}, {0x1FE4, {0x03A1, 0x0313}},
    {0x1FE6, {0x03A5, 0x0342}},         {0x1FE7, {0x03A5, 0x0308, 0x0342}},
    {0x1FF2, {0x1FFA, 0x0399}},         {0x1FF3, {0x03A9, 0x0399}},
    {0x1FF4, {0x038F, 0x0399}},         {0x1FF6, {0x03A9, 0x0342}},
    {0x1FF7, {0x03A9, 0x0342, 0x0399}}, {0x1FFC, {0x03A9, 0x0399}},
    {0xFB00, {0x0046, 0x0046}},         {0xFB01, {0x0046, 0x0049}},
    {0xFB02, {0x0046, 0x004C}},         {0xFB03, {0x0046, 0x0046, 0x0049}},
    {0xFB04, {0x0046, 0x0046, 0x004C}}, {0xFB05, {0x0053, 0x0054}},
    {0xFB06, {0x0053, 0x0054}},         {0xFB13, {0x0544, 0x0546}},
    {0xFB14, {0x0544, 0x0535}},         {0xFB15, {0x0544, 0x053B}},
    {0xFB16, {0x054E, 0x0546}},         {0xFB17, {0x0544, 0x053D}},
};

utf8proc_int32_t plain(char32_t c) {
  return static_cast<utf8proc_int32_t>(c);
}

bool is_upper(char32_t c) {
  return c < kInvalidByte && utf8proc_isupper(plain(c)) != 0;
}
bool is_lower(char32_t c) {
  return c < kInvalidByte && utf8proc_islower(plain(c)) != 0;
}
bool is_title(char32_t c) {
  return c < kInvalidByte && utf8proc_category(plain(c)) == UTF8PROC_CATEGORY_LT;
}
bool has_case(char32_t c) {
  return is_upper(c) || is_lower(c) || is_title(c);
}

const LongUpper* find_long_upper(char32_t c) {
  const auto* special =
      std::lower_bound(std::begin(kLongUpper), std::end(kLongUpper), c,
                       [](const LongUpper& entry, char32_t code) { return entry.from < code; });
  return special == std::end(kLongUpper) || special->from != c ? nullptr : special;
}

void append_upper(TextBuilder& out, char32_t c, bool trusted) {
  if (c >= kInvalidByte) return out.append_code_point(c, trusted);
  const LongUpper* special = find_long_upper(c);
  if (special == nullptr) {
    return out.append_code_point(static_cast<char32_t>(utf8proc_toupper(plain(c))), trusted);
  }
  for (const char32_t part : special->to) {
    if (part != 0) out.append_code_point(part, trusted);
  }
}

// Marks, modifiers and signs within words, which do not separate a letter from the next.
bool is_case_ignorable(char32_t c) {
  if (c >= kInvalidByte) return false;
  switch (c) {
    case '\'':
    case '.':
    case ':':
    case 0x00B7:
    case 0x2018:
    case 0x2019:
    case 0x2024:
    case 0x2027:
      return true;
    default:
      break;
  }
  switch (utf8proc_category(plain(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

// A capital sigma at the end of a word becomes the final one.
bool is_final_sigma(std::string_view text, size_t at, size_t length, bool after_cased) {
  if (!after_cased) return false;
  constexpr size_t kLookAhead = 256;  // bytes of what is skipped; no word has more
  const size_t end = std::min(text.size(), at + length + kLookAhead);
  for (size_t next = at + length; next < end;) {
    const auto [c, size] = character_at(text, next);
    if (!is_case_ignorable(c)) return !has_case(c);
    next += size;
  }
  return true;
}

void append_lower(TextBuilder& out, std::string_view text, size_t at, Character character,
                  bool after_cased, bool trusted) {
  const char32_t c = character.code_point;
  if (c >= kInvalidByte) return out.append_code_point(c, trusted);
  if (c == 0x0130) {
    out.append_code_point('i', trusted);
    return out.append_code_point(0x0307, trusted);
  }
  if (c == 0x03A3 && is_final_sigma(text, at, character.length, after_cased)) {
    return out.append_code_point(0x03C2, trusted);
  }
  out.append_code_point(static_cast<char32_t>(utf8proc_tolower(plain(c))), trusted);
}

void append_title(TextBuilder& out, char32_t c, bool trusted) {
  if (c >= kInvalidByte) return out.append_code_point(c, trusted);
  const auto title = static_cast<char32_t>(utf8proc_totitle(plain(c)));
  const LongUpper* special = is_title(title) ? nullptr : find_long_upper(c);
  if (special == nullptr) return out.append_code_point(title, trusted);
  out.append_code_point(special->to[0], trusted);
  for (const char32_t part : {special->to[1], special->to[2]}) {
    if (part == 0) continue;
    const auto lower = static_cast<char32_t>(utf8proc_tolower(plain(part)));
    out.append_code_point(c == 0x0149 ? part : lower, trusted);
  }
}

// kWordBegin: upper case, and the rest of the word is lowered without regard to it.
enum class Form { kUpper, kLower, kTitle, kWordBegin };

// `form_of(character, index, previous)` decides for every character.
template <typename FormOf>
Value convert(Budget& budget, const Text& text, FormOf form_of) {
  TextBuilder out(budget);
  TrustCursor cursor(text);
  const std::string_view bytes = text.view();
  char32_t previous = 0;
  bool after_cased = false;
  for (size_t at = 0; at < bytes.size();) {
    if ((at & 63) == 0) budget.step();
    const Character character = character_at(bytes, at);
    const bool trusted = cursor.trusted(at);
    const Form form = form_of(character.code_point, at, previous);
    switch (form) {
      case Form::kUpper:
      case Form::kWordBegin:
        append_upper(out, character.code_point, trusted);
        break;
      case Form::kLower:
        append_lower(out, bytes, at, character, after_cased, trusted);
        break;
      case Form::kTitle:
        append_title(out, character.code_point, trusted);
        break;
    }
    previous = character.code_point;
    if (form == Form::kWordBegin) {
      after_cased = false;
    } else if (!is_case_ignorable(previous)) {
      after_cased = has_case(previous);
    }
    at += character.length;
  }
  return Value::string(out);
}

bool is_in(char32_t c, CharacterClass wanted) {
  if (c >= kInvalidByte) return false;
  const auto category = utf8proc_category(plain(c));
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool digit = category == UTF8PROC_CATEGORY_ND;
  switch (wanted) {
    case CharacterClass::kAlpha:
      return letter;
    case CharacterClass::kDigit:
      return digit;
    case CharacterClass::kAlnum:
      return letter || digit || category == UTF8PROC_CATEGORY_NL ||
             category == UTF8PROC_CATEGORY_NO;
    case CharacterClass::kSpace:
      return is_space(c);
    default:
      return false;
  }
}

}  // namespace

Value upper(Budget& budget, const Text& text) {
  return convert(budget, text, [](char32_t, size_t, char32_t) { return Form::kUpper; });
}

Value lower(Budget& budget, const Text& text) {
  return convert(budget, text, [](char32_t, size_t, char32_t) { return Form::kLower; });
}

Value capitalize(Budget& budget, const Text& text) {
  return convert(budget, text, [](char32_t, size_t at, char32_t) {
    return at == 0 ? Form::kTitle : Form::kLower;
  });
}

Value title(Budget& budget, const Text& text) {
  return convert(budget, text, [](char32_t, size_t at, char32_t previous) {
    return at > 0 && has_case(previous) ? Form::kLower : Form::kTitle;
  });
}

Value title_words(Budget& budget, const Text& text) {
  return convert(budget, text, [](char32_t, size_t at, char32_t previous) {
    const bool begins = at == 0 || is_space(previous) || previous == '-' || previous == '(' ||
                        previous == '{' || previous == '[' || previous == '<';
    return begins ? Form::kWordBegin : Form::kLower;
  });
}

bool is_all(Budget& budget, std::string_view text, CharacterClass wanted) {
  budget.work(text.size());
  const bool by_case = wanted == CharacterClass::kLower || wanted == CharacterClass::kUpper;
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const auto [c, length] = character_at(text, at);
    at += length;
    if (!by_case) {
      if (!is_in(c, wanted)) return false;
      any = true;
    } else if (has_case(c)) {
      if (wanted == CharacterClass::kLower ? !is_lower(c) : !is_upper(c)) return false;
      any = true;
    }
  }
  return any;
}

}  // namespace sluice::text::jinja
