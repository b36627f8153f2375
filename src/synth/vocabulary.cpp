// SPDX-License-Identifier: Apache-2.0
#include "synth/vocabulary.h"

#include <algorithm>
#include <string_view>

#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace sluice::synth {
namespace {

constexpr int64_t kAddedTokens = 26;
constexpr int64_t kPaddingRows = 267;
constexpr int64_t kPaddedFrom = 4096;  // smaller vocabularies have no padding rows

constexpr std::string_view kChatMl =
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

class Builder {
 public:
  explicit Builder(int64_t merges) : merges_(static_cast<size_t>(merges)) {
    for (int byte = 0; byte < 256; ++byte)
      text::append_as_character(static_cast<uint8_t>(byte), v_.tokens.emplace_back());
    // In the order of the characters: one byte long before two.
    std::sort(v_.tokens.begin(), v_.tokens.end());
    text::append_as_character(' ', space_);
    grow();
  }

  Vocabulary take() { return std::move(v_); }

 private:
  // False once there are enough.
  bool merge(const std::string& left, const std::string& right) {
    if (v_.merges.size() == merges_) return false;
    v_.merges.push_back(left + ' ' + right);
    v_.tokens.push_back(left + right);
    return true;
  }

  void grow() {
    std::vector<std::string> syllables;
    for (const char consonant : std::string_view("bcdfghjklmnpqrstvwxyz"))
      for (const char vowel : std::string_view("aeiou")) {
        if (!merge({consonant}, {vowel})) return;
        syllables.push_back({consonant, vowel});
      }
    for (const std::string& s : syllables)
      if (!merge(space_, s)) return;
    // Words of two syllables, then of three, each within a word and at its beginning. 2.3 million
    // in all, more than any vocabulary has.
    std::vector<std::string> shorter = syllables;
    for (;;) {
      std::vector<std::string> longer;
      for (const std::string& tail : syllables)
        for (const std::string& head : shorter) {
          if (!merge(head, tail) || !merge(space_ + head, tail)) return;
          longer.push_back(head + tail);
        }
      shorter = std::move(longer);
    }
  }

  size_t merges_;
  std::string space_;
  Vocabulary v_;
};

}  // namespace

Vocabulary make_vocabulary(int64_t size) {
  const int64_t padding = size >= kPaddedFrom ? kPaddingRows : 0;
  Vocabulary v = Builder(size - 256 - kAddedTokens - padding).take();
  v.ordinary = static_cast<int64_t>(v.tokens.size());
  const auto add = [&](std::string text, text::TokenKind kind) {
    v.kinds.push_back(static_cast<int32_t>(kind));
    v.tokens.push_back(std::move(text));
    return static_cast<int32_t>(v.tokens.size() - 1);
  };
  v.kinds.assign(v.tokens.size(), static_cast<int32_t>(text::TokenKind::kNormal));
  v.end_of_text = add("<|endoftext|>", text::TokenKind::kControl);
  add("<|im_start|>", text::TokenKind::kControl);
  v.end_of_turn = add("<|im_end|>", text::TokenKind::kControl);
  for (int64_t i = 3; i < kAddedTokens; ++i)
    add(fmt::format("<|reserved_{}|>", i), text::TokenKind::kControl);
  for (int64_t i = 0; i < padding; ++i)
    add(fmt::format("[PAD{}]", v.tokens.size()), text::TokenKind::kUnused);
  return v;
}

void set_metadata(const Vocabulary& v, gguf::Writer& writer) {
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", "qwen2");
  writer.set_strings("tokenizer.ggml.tokens", v.tokens);
  writer.set_i32s("tokenizer.ggml.token_type", v.kinds);
  writer.set_strings("tokenizer.ggml.merges", v.merges);
  writer.set_u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(v.end_of_text));
  writer.set_u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(v.end_of_turn));
  writer.set_u32("tokenizer.ggml.padding_token_id", static_cast<uint32_t>(v.end_of_text));
  writer.set_bool("tokenizer.ggml.add_bos_token", false);
  writer.set_string("tokenizer.chat_template", std::string(kChatMl));
}

}  // namespace sluice::synth
