// SPDX-License-Identifier: Apache-2.0
#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"

namespace sluice::text {
namespace {

constexpr char32_t kEnd = 0x110000;
constexpr char32_t kFirstNotTrivial = 0x300;  // below, every character is its own normal form

size_t ascii_prefix(std::string_view text) {
  size_t n = 0;
  for (; n + sizeof(uint64_t) <= text.size(); n += sizeof(uint64_t)) {
    uint64_t chunk;
    std::memcpy(&chunk, text.data() + n, sizeof(chunk));
    if (chunk & 0x8080808080808080u) break;
  }
  while (n < text.size() && static_cast<uint8_t>(text[n]) < 0x80) ++n;
  return n;
}

// What normalisation has to know of a character. A "boundary" (neither flag) is a starter that
// never joins what stands before it: the texts on both sides normalise independently (UAX
// #15, 9.1).
enum NfcFlags : uint8_t {
  kBoundary = 0,
  kMayChange = 1,   // NFC_Quick_Check is No or Maybe
  kNonStarter = 2,  // its canonical combining class is not zero
};

// Longest canonical decomposition of one character.
constexpr int kMaxDecomposition = 4;

int decompose(char32_t c, int32_t* out, int capacity) {
  int last_boundary_class = 0;
  const auto n = utf8proc_decompose_char(
      static_cast<int32_t>(c), out, capacity,
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &last_boundary_class);
  SLUICE_CHECK(n >= 1 && n <= capacity, "canonical decomposition of a valid code point");
  return static_cast<int>(n);
}

int compose(int32_t* characters, size_t n) {
  const auto length =
      utf8proc_normalize_utf32(characters, static_cast<utf8proc_ssize_t>(n),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  SLUICE_CHECK(length >= 0, "composition of valid code points");
  return static_cast<int>(length);
}

uint8_t combining_class(int32_t c) {
  return static_cast<uint8_t>(utf8proc_get_property(c)->combining_class);
}

// utf8proc has no NFC_Quick_Check, so it is derived: "No" is a character whose decomposition does
// not compose back to it, "Maybe" one that another character's decomposition goes on with.
class NfcTable {
 public:
  NfcTable() {
    blocks_.emplace_back();
    for (char32_t c = 0x80; c < kEnd; ++c) {
      if (c == 0x40000) c = 0xE0000;  // nothing is assigned between, and nothing canonical can be
      if (c == 0xF0000) break;        // private use
      add(c);
    }
    for (char32_t c = 0x1161; c <= 0x1175; ++c) set(c, kMayChange);  // Hangul vowels
    for (char32_t c = 0x11A8; c <= 0x11C2; ++c) set(c, kMayChange);  // and final consonants
  }

  uint8_t flags(char32_t c) const { return blocks_[index_[c >> 8]][c & 0xFF]; }

 private:
  void add(char32_t c) {
    if (c >= 0xAC00 && c <= 0xD7A3) return;  // Hangul syllables are composed
    if (combining_class(static_cast<int32_t>(c)) != 0) set(c, kNonStarter);
    std::array<int32_t, kMaxDecomposition> parts;
    const int n = decompose(c, parts.data(), kMaxDecomposition);
    if (n == 1 && parts[0] == static_cast<int32_t>(c)) return;
    const auto decomposed = parts;
    if (compose(parts.data(), n) != 1 || parts[0] != static_cast<int32_t>(c)) {
      set(c, kMayChange);
    } else {
      for (int i = 1; i < n; ++i) set(static_cast<char32_t>(decomposed[i]), kMayChange);
    }
  }

  void set(char32_t c, NfcFlags flag) {
    uint8_t& block = index_[c >> 8];
    if (block == 0) {
      block = static_cast<uint8_t>(blocks_.size());
      blocks_.emplace_back();
      SLUICE_CHECK(blocks_.size() <= 256, "blocks with combining characters");
    }
    blocks_[block][c & 0xFF] |= flag;
  }

  std::array<uint8_t, (kEnd >> 8)> index_{};
  std::vector<std::array<uint8_t, 256>> blocks_;  // block 0: boundaries only
};

const NfcTable& nfc_table() {
  static const NfcTable table;
  return table;
}

// Appends the normal form of `text`. Not utf8proc's own: that orders combining marks in time
// quadratic in the length of a run of them, and a run can be as long as the prompt.
void append_nfc(std::string_view text, std::string& out) {
  std::vector<int32_t> characters;
  characters.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto c = decode_utf8(text.substr(i));
    i += c.length;
    std::array<int32_t, kMaxDecomposition> parts;
    const int n = decompose(c.code_point, parts.data(), kMaxDecomposition);
    characters.insert(characters.end(), parts.begin(), parts.begin() + n);
  }
  const auto is_starter = [](int32_t c) { return combining_class(c) == 0; };
  for (auto run = characters.begin(); run != characters.end();) {
    run = std::find_if_not(run, characters.end(), is_starter);
    const auto end = std::find_if(run, characters.end(), is_starter);
    std::stable_sort(run, end,
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    run = end;
  }
  const int n = compose(characters.data(), characters.size());
  for (int i = 0; i < n; ++i) append_utf8(static_cast<char32_t>(characters[i]), out);
}

}  // namespace

Utf8Character decode_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {Utf8Status::kValid, lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Status::kInvalid, 0, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  char32_t code_point = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Status::kIncomplete, 0, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Status::kInvalid, 0, i};
    code_point = code_point << 6 | (byte(i) & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {Utf8Status::kValid, code_point, length};
}

void append_utf8(char32_t code_point, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto n = utf8proc_encode_char(static_cast<int32_t>(code_point), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(n));
}

std::string_view repair_utf8(std::string_view text, std::string& storage) {
  size_t copied = 0;
  bool repaired = false;
  for (size_t i = ascii_prefix(text); i < text.size();) {
    const auto c = decode_utf8(text.substr(i));
    if (c.status == Utf8Status::kValid) {
      i += c.length;
      if (c.length == 1) i += ascii_prefix(text.substr(i));
      continue;
    }
    if (!repaired) {
      repaired = true;
      storage.clear();
    }
    storage.append(text.substr(copied, i - copied)).append(kReplacementCharacter);
    copied = ++i;
  }
  if (!repaired) return text;
  storage.append(text.substr(copied));
  return storage;
}

std::string_view to_nfc(std::string_view text, std::string& storage) {
  size_t i = ascii_prefix(text);
  if (i == text.size()) return text;
  const NfcTable& table = nfc_table();
  size_t boundary = i > 0 ? i - 1 : 0;  // of the last boundary character seen
  size_t copied = 0;
  int last_class = 0;
  bool changed = false;
  while (i < text.size()) {
    const auto c = decode_utf8(text.substr(i));
    const uint8_t flags =
        c.code_point < kFirstNotTrivial ? uint8_t{kBoundary} : table.flags(c.code_point);
    if (flags == kBoundary) {
      boundary = i;
      i += c.length;
      last_class = 0;
      continue;
    }
    const int combining =
        flags & kNonStarter ? combining_class(static_cast<int32_t>(c.code_point)) : 0;
    if (!(flags & kMayChange) && combining >= last_class) {
      last_class = combining;
      i += c.length;
      continue;
    }
    // Normalise from the last boundary to the next one.
    size_t end = i + c.length;
    while (end < text.size()) {
      const auto next = decode_utf8(text.substr(end));
      if (next.code_point < kFirstNotTrivial || table.flags(next.code_point) == kBoundary) break;
      end += next.length;
    }
    if (!changed) {
      changed = true;
      storage.clear();
      storage.reserve(text.size());
    }
    storage.append(text.substr(copied, boundary - copied));
    append_nfc(text.substr(boundary, end - boundary), storage);
    copied = boundary = i = end;
    last_class = 0;
  }
  if (!changed) return text;
  storage.append(text.substr(copied));
  return storage;
}

}  // namespace sluice::text
