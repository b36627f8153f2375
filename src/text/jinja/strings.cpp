// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/strings.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

namespace sluice::text::jinja {

namespace {

Value piece(Budget& budget, const Text& text, size_t begin, size_t end) {
  budget.step();
  TextBuilder out(budget);
  out.append(text, begin, end);
  return Value::string(out);
}

class CharacterSet {
 public:
  explicit CharacterSet(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      const auto [c, length] = character_at(text, at);
      set_.insert(c);
      at += length;
    }
  }
  bool has(char32_t c) const { return set_.count(c) != 0; }

 private:
  std::unordered_set<char32_t> set_;
};

size_t last_character(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) {
    --begin;
  }
  return begin + character_at(text, begin).length == end ? begin : end - 1;
}

void check_separator(const Text* separator) {
  if (separator != nullptr && separator->size() == 0) reject("split: the separator is empty");
}

std::vector<Value> split_at_space(Budget& budget, const Text& text, int64_t limit) {
  std::vector<Value> result;
  const std::string_view bytes = text.view();
  size_t at = leading_space(bytes);
  while (at < bytes.size()) {
    if (limit >= 0 && static_cast<int64_t>(result.size()) >= limit) {
      result.push_back(piece(budget, text, at, bytes.size()));
      break;
    }
    const size_t begin = at;
    while (at < bytes.size()) {
      const auto [c, length] = character_at(bytes, at);
      if (is_space(c)) break;
      at += length;
    }
    result.push_back(piece(budget, text, begin, at));
    at += leading_space(bytes.substr(at));
  }
  return result;
}

std::vector<Value> split_at_space_from_right(Budget& budget, const Text& text, int64_t limit) {
  std::vector<Value> result;
  const std::string_view bytes = text.view();
  size_t end = bytes.size() - trailing_space(bytes);
  while (end > 0) {
    if (limit >= 0 && static_cast<int64_t>(result.size()) >= limit) {
      result.push_back(piece(budget, text, 0, end));
      break;
    }
    size_t begin = end;
    while (begin > 0) {
      const size_t before = last_character(bytes, begin);
      if (is_space(character_at(bytes, before).code_point)) break;
      begin = before;
    }
    result.push_back(piece(budget, text, begin, end));
    end = begin - trailing_space(bytes.substr(0, begin));
  }
  std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace

size_t find_bytes(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  if (needle.size() > text.size() - from) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

Value strip(Budget& budget, const Text& text, const Text* set, Side side) {
  const std::string_view bytes = text.view();
  budget.work(bytes.size());
  size_t begin = 0;
  size_t end = bytes.size();
  if (set == nullptr) {
    if (side != Side::kRight) begin = leading_space(bytes);
    if (side != Side::kLeft) end -= trailing_space(bytes.substr(begin));
  } else {
    budget.work(64 * count_characters(set->view()));
    const CharacterSet characters(set->view());
    while (side != Side::kRight && begin < end) {
      const auto [c, length] = character_at(bytes, begin);
      if (!characters.has(c)) break;
      begin += length;
    }
    while (side != Side::kLeft && end > begin) {
      const size_t last = last_character(bytes, end);
      if (!characters.has(character_at(bytes, last).code_point)) break;
      end = last;
    }
  }
  TextBuilder out(budget);
  out.append(text, begin, end);
  return Value::string(out);
}

std::vector<Value> split(Budget& budget, const Text& text, const Text* separator, int64_t limit) {
  check_separator(separator);
  budget.work(text.size());
  if (separator == nullptr) return split_at_space(budget, text, limit);
  std::vector<Value> result;
  size_t at = 0;
  while (limit < 0 || static_cast<int64_t>(result.size()) < limit) {
    const size_t found = find_bytes(text.view(), separator->view(), at);
    if (found == std::string_view::npos) break;
    result.push_back(piece(budget, text, at, found));
    at = found + separator->size();
  }
  result.push_back(piece(budget, text, at, text.size()));
  return result;
}

std::vector<Value> split_from_right(Budget& budget, const Text& text, const Text* separator,
                                    int64_t limit) {
  check_separator(separator);
  budget.work(text.size());
  if (limit < 0 && separator != nullptr) return split(budget, text, separator, limit);
  if (separator == nullptr) return split_at_space_from_right(budget, text, limit);
  // Searching backwards in linear time is searching forwards in what is reversed.
  budget.expect(text.size() + separator->size());
  const std::string backwards(text.bytes.rbegin(), text.bytes.rend());
  const std::string wanted(separator->bytes.rbegin(), separator->bytes.rend());
  std::vector<Value> result;
  size_t end = text.size();
  while (static_cast<int64_t>(result.size()) < limit) {
    const size_t found = find_bytes(backwards, wanted, text.size() - end);
    if (found == std::string_view::npos) break;
    result.push_back(piece(budget, text, text.size() - found, end));
    end = text.size() - found - wanted.size();
  }
  result.push_back(piece(budget, text, 0, end));
  std::reverse(result.begin(), result.end());
  return result;
}

std::vector<Range> line_ranges(Budget& budget, std::string_view text, bool keep_ends) {
  std::vector<Range> result;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [c, length] = character_at(text, at);
    const bool end = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                     c == 0x2028 || c == 0x2029;
    const size_t line_end = at;
    at += length;
    if (!end) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    budget.step();
    budget.expect((result.size() + 1) * 2 * sizeof(Range));
    result.push_back({begin, keep_ends ? at : line_end});
    begin = at;
  }
  if (begin < text.size()) result.push_back({begin, text.size()});
  return result;
}

int64_t count_occurrences(Budget& budget, std::string_view text, std::string_view needle) {
  budget.work(text.size());
  if (needle.empty()) return static_cast<int64_t>(count_characters(text)) + 1;
  int64_t count = 0;
  for (size_t at = find_bytes(text, needle, 0); at != std::string_view::npos;
       at = find_bytes(text, needle, at + needle.size())) {
    budget.step();
    ++count;
  }
  return count;
}

Value replace(Budget& budget, const Text& text, const Text& old, const Text& by, int64_t limit) {
  TextBuilder out(budget);
  budget.work(text.size());
  size_t at = 0;
  int64_t done = 0;
  if (old.size() == 0) {  // before every character and at the end
    while (limit < 0 || done < limit) {
      out.append(by);
      budget.step();
      ++done;
      if (at >= text.size()) break;
      const size_t next = next_character(text.view(), at);
      out.append(text, at, next);
      at = next;
    }
  } else {
    while (limit < 0 || done < limit) {
      const size_t found = find_bytes(text.view(), old.view(), at);
      if (found == std::string_view::npos) break;
      out.append(text, at, found);
      out.append(by);
      budget.step();
      ++done;
      at = found + old.size();
    }
  }
  out.append(text, at, text.size());
  return Value::string(out);
}

}  // namespace sluice::text::jinja
