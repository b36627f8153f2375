// SPDX-License-Identifier: Apache-2.0
// Hostile vocabularies and texts. The input is a number of sections, each behind its length in one
// byte; see Input. What is checked: a vocabulary is either refused with a message or works;
// decoding gives back the normal form of what was encoded; segments that are not trusted have no
// added tokens; the stream of bytes is always valid UTF-8 and does not depend on the cuts.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

using namespace sluice::text;

class Input {
 public:
  explicit Input(std::string_view data) : data_(data) {}

  uint8_t byte() {
    if (data_.empty()) return 0;
    const auto value = static_cast<uint8_t>(data_[0]);
    data_.remove_prefix(1);
    return value;
  }
  std::string_view section() {
    const size_t length = std::min<size_t>(byte(), data_.size());
    const auto out = data_.substr(0, length);
    data_.remove_prefix(length);
    return out;
  }
  std::string_view rest() const { return data_; }

 private:
  std::string_view data_;
};

// All bytes, then merges between tokens that exist, so that most vocabularies work.
TokenizerSpec working_spec(Input& input) {
  TokenizerSpec spec{.model = "gpt2", .pre_tokenizer = "qwen2"};
  for (int byte = 0; byte < 256; ++byte) {
    append_as_character(static_cast<uint8_t>(byte), spec.tokens.emplace_back());
  }
  const size_t merges = input.byte() % 32;
  for (size_t i = 0; i < merges; ++i) {
    const auto pick = [&]() -> const std::string& {
      const size_t high = input.byte();
      return spec.tokens[(high << 8 | input.byte()) % spec.tokens.size()];
    };
    const std::string left = pick(), right = pick();
    if (left.size() + right.size() > 64) continue;
    spec.merges.push_back(left + " " + right);
    spec.tokens.push_back(left + right);
  }
  spec.kinds.assign(spec.tokens.size(), static_cast<int32_t>(TokenKind::kNormal));
  const size_t added = input.byte() % 8;
  for (size_t i = 0; i < added; ++i) {
    spec.kinds.push_back(2 + input.byte() % 4);
    spec.tokens.emplace_back(input.section());
  }
  return spec;
}

// Damages a spec anywhere.
void damage(TokenizerSpec& spec, Input& input) {
  for (int n = input.byte() % 8; n > 0; --n) {
    const size_t at = size_t{input.byte()} << 8 | input.byte();
    const std::string text(input.section());
    switch (input.byte() % 8) {
      case 0:
        spec.tokens[at % spec.tokens.size()] = text;
        break;
      case 1:
        spec.kinds[at % spec.kinds.size()] = static_cast<int8_t>(input.byte());
        break;
      case 2:
        spec.merges.push_back(text);
        break;
      case 3:
        spec.end_of_generation.push_back(static_cast<Token>(at) - 100);
        break;
      case 4:
        spec.tokens.push_back(text);
        break;
      case 5:
        spec.kinds.resize(at % 400, 1);
        break;
      case 6:
        spec.pre_tokenizer = text;
        break;
      case 7:
        spec.model = text;
        break;
    }
    if (spec.kinds.empty()) spec.kinds.push_back(1);
  }
}

bool is_valid(std::string_view text) {
  std::string storage;
  return repair_utf8(text, storage).data() == text.data();
}

void check_stream(const std::vector<std::string_view>& parts) {
  Utf8Stream stream, whole;
  std::string out, joined;
  for (const auto part : parts) {
    const std::string complete = stream.push(part);
    SLUICE_CHECK(is_valid(complete), "the stream gives whole characters");
    out += complete;
    joined += part;
  }
  out += stream.finish();
  std::string expected = whole.push(joined);
  expected += whole.finish();
  SLUICE_CHECK(out == expected, "the stream does not depend on the cuts");
}

void check_text(const Tokenizer& tokenizer, std::string_view text, Input cuts) {
  std::string repaired, normalised;
  const std::string expected(to_nfc(repair_utf8(text, repaired), normalised));
  const auto plain = tokenizer.encode(text, SpecialTokens::kText);
  SLUICE_CHECK(tokenizer.decode(plain, false) == expected, "decoding gives the text back");
  for (const Token token : plain) {
    SLUICE_CHECK(tokenizer.kind(token) == TokenKind::kNormal, "plain text has no added tokens");
  }
  std::vector<Segment> untrusted, trusted;
  std::vector<std::string_view> parts;
  for (size_t at = 0; at < text.size();) {
    const auto part = text.substr(at, 1 + cuts.byte() % 16);
    untrusted.push_back({std::string(part), false});
    trusted.push_back({std::string(part), true});
    parts.push_back(part);
    at += part.size();
  }
  SLUICE_CHECK(tokenizer.encode(std::span<const Segment>(untrusted)) == plain,
               "untrusted segments are one plain text");
  tokenizer.encode(std::span<const Segment>(trusted));
  check_stream(parts);

  const auto parsed = tokenizer.encode(text, SpecialTokens::kParse);
  parts.clear();
  for (const Token token : parsed) {
    SLUICE_CHECK(token >= 0 && token < tokenizer.size(), "tokens are in the vocabulary");
    SLUICE_CHECK(tokenizer.kind(token) != TokenKind::kUnused, "unused tokens are not matched");
    tokenizer.is_end_of_generation(token);
    parts.push_back(tokenizer.bytes(token));
  }
  check_stream(parts);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input({reinterpret_cast<const char*>(data), size});
  const bool damaged = input.byte() % 2 == 1;
  TokenizerSpec spec = working_spec(input);
  if (damaged) damage(spec, input);
  const auto tokenizer = Tokenizer::create(std::move(spec));
  if (!tokenizer) {
    SLUICE_CHECK(is_valid(tokenizer.error().message), "messages are text");
    SLUICE_CHECK(!tokenizer.error().message.empty(), "errors have a message");
    return 0;
  }
  const Input cuts(input.section());
  check_text(*tokenizer, input.rest(), cuts);
  return 0;
}
