// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/text.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"

namespace sluice::text::jinja {

namespace {

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

}  // namespace

Text Text::trusted(std::string text) {
  return Text{std::move(text), {}};
}

Text Text::from_context(std::string text) {
  Text result{std::move(text), {}};
  if (!result.bytes.empty()) result.untrusted.push_back({0, result.bytes.size()});
  return result;
}

void TextBuilder::reserve(size_t more) {
  budget_.check_length(more);
  const size_t wanted = text_.size() + more;
  budget_.check_length(wanted);
  budget_.work(more);
  if (wanted <= text_.bytes.capacity()) return;
  const size_t capacity = std::max(wanted, 2 * text_.bytes.capacity());
  const size_t bytes = capacity + text_.untrusted.capacity() * sizeof(Range);
  if (bytes > held_) {
    budget_.hold(bytes - held_);
    held_ = bytes;
  }
  text_.bytes.reserve(capacity);
}

void TextBuilder::mark(size_t begin, size_t end) {
  auto& ranges = text_.untrusted;
  if (!ranges.empty() && ranges.back().end == begin) {
    ranges.back().end = end;
    return;
  }
  if (ranges.size() == ranges.capacity()) {
    const size_t growth = std::max<size_t>(ranges.capacity(), 4) * sizeof(Range);
    budget_.hold(growth);
    held_ += growth;
  }
  ranges.push_back({begin, end});
}

void TextBuilder::append(const Text& text, size_t begin, size_t end) {
  if (begin >= end) return;
  reserve(end - begin);
  const size_t at = text_.size();
  text_.bytes.append(text.bytes, begin, end - begin);
  auto range = std::partition_point(text.untrusted.begin(), text.untrusted.end(),
                                    [&](const Range& r) { return r.end <= begin; });
  for (; range != text.untrusted.end() && range->begin < end; ++range) {
    mark(at + std::max(range->begin, begin) - begin, at + std::min(range->end, end) - begin);
  }
}

void TextBuilder::append(std::string_view text, bool trusted) {
  if (text.empty()) return;
  reserve(text.size());
  const size_t at = text_.size();
  text_.bytes.append(text);
  if (!trusted) mark(at, text_.size());
}

void TextBuilder::append_code_point(char32_t code_point, bool trusted) {
  if (code_point >= kInvalidByte) {
    const char byte = static_cast<char>(code_point - kInvalidByte);
    return append(std::string_view(&byte, 1), trusted);
  }
  std::string encoded;
  append_utf8(code_point, encoded);
  append(encoded, trusted);
}

void TextBuilder::append_repeated(const Text& text, size_t count) {
  if (text.size() == 0 || count == 0) return;
  const size_t bytes = budget_.product(text.size(), count);
  reserve(bytes);
  budget_.step(static_cast<int64_t>(count / 16));
  const bool whole = text.untrusted.size() == 1 && text.untrusted[0] == Range{0, text.size()};
  if (!whole && !text.wholly_trusted()) {
    for (size_t i = 0; i < count; ++i) append(text);
    return;
  }
  const size_t at = text_.size();
  for (size_t i = 0; i < count; ++i) text_.bytes += text.bytes;
  if (whole) mark(at, at + bytes);
}

Text TextBuilder::take() {
  budget_.release(std::exchange(held_, 0));
  return std::exchange(text_, {});
}

bool TrustCursor::trusted(size_t offset) {
  while (next_ < ranges_.size() && ranges_[next_].end <= offset) ++next_;
  return next_ == ranges_.size() || offset < ranges_[next_].begin;
}

size_t count_characters(std::string_view text) {
  if (text.empty()) return 0;
  const auto continuations = std::count_if(text.begin() + 1, text.end(), is_continuation);
  return text.size() - static_cast<size_t>(continuations);
}

size_t next_character(std::string_view text, size_t offset) {
  if (offset >= text.size()) return text.size();
  ++offset;
  while (offset < text.size() && is_continuation(text[offset])) ++offset;
  return offset;
}

size_t character_offset(std::string_view text, size_t index) {
  size_t offset = 0;
  while (index > 0 && offset < text.size()) {
    offset = next_character(text, offset);
    --index;
  }
  return offset;
}

Character character_at(std::string_view text, size_t offset) {
  const auto byte = static_cast<unsigned char>(text[offset]);
  if (byte < 0x80) return {byte, 1};
  const Utf8Character decoded = decode_utf8(text.substr(offset));
  if (decoded.status == Utf8Status::kValid) return {decoded.code_point, decoded.length};
  return {kInvalidByte + byte, 1};
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

size_t leading_space(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const Character character = character_at(text, offset);
    if (!is_space(character.code_point)) break;
    offset += character.length;
  }
  return offset;
}

size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && end - begin < 4 && is_continuation(text[begin])) --begin;
    const Character character = character_at(text, begin);
    if (character.length != end - begin || !is_space(character.code_point)) break;
    end = begin;
  }
  return text.size() - end;
}

}  // namespace sluice::text::jinja
