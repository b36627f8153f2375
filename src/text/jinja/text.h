// SPDX-License-Identifier: Apache-2.0
// Strings that know which of their bytes came from the context (untrusted) and which from the
// template's literals (trusted). Comparing looks at the bytes alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/budget.h"

namespace sluice::text::jinja {

struct Range {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const Range&) const = default;
};

// UTF-8. Characters are code points; a stray continuation byte belongs to the character before it.
struct Text {
  std::string bytes;
  std::vector<Range> untrusted;  // sorted, not empty, apart from each other

  static Text trusted(std::string text);
  static Text from_context(std::string text);

  std::string_view view() const { return bytes; }
  size_t size() const { return bytes.size(); }
  bool wholly_trusted() const { return untrusted.empty(); }
};

// Puts a text together, within the limits on length and memory.
class TextBuilder {
 public:
  explicit TextBuilder(Budget& budget) : budget_(budget) {}
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;
  ~TextBuilder() { budget_.release(held_); }

  void append(const Text& text) { append(text, 0, text.size()); }
  void append(const Text& text, size_t begin, size_t end);
  void append(std::string_view text, bool trusted);
  void append_code_point(char32_t code_point, bool trusted);
  void append_repeated(const Text& text, size_t count);

  size_t size() const { return text_.size(); }
  Budget& budget() { return budget_; }
  Text take();

 private:
  void reserve(size_t more);
  void mark(size_t begin, size_t end);

  Budget& budget_;
  Text text_;
  size_t held_ = 0;
};

// Whether the byte at `offset` is trusted; asked for ascending offsets it takes constant time each.
class TrustCursor {
 public:
  explicit TrustCursor(const Text& text) : ranges_(text.untrusted) {}
  bool trusted(size_t offset);

 private:
  const std::vector<Range>& ranges_;
  size_t next_ = 0;
};

size_t count_characters(std::string_view text);
// The offset of character `index`, at most the size.
size_t character_offset(std::string_view text, size_t index);
// The offset after the character that begins at `offset`.
size_t next_character(std::string_view text, size_t offset);

// As Python's str.isspace.
bool is_space(char32_t code_point);
// The length of the white space at the beginning and at the end.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

// One UTF-8 character at `offset`; an invalid byte is returned as kInvalidByte + its value.
inline constexpr char32_t kInvalidByte = 0x110000;
struct Character {
  char32_t code_point = 0;
  size_t length = 1;
};
Character character_at(std::string_view text, size_t offset);

}  // namespace sluice::text::jinja
