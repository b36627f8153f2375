// SPDX-License-Identifier: Apache-2.0
#include "packed_vocabulary.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "text/byte_alphabet.h"

namespace sluice::text {
namespace {

constexpr std::pair<const char*, TokenKind> kAdded[] = {
    {"<|endoftext|>", TokenKind::kControl},       {"<|im_start|>", TokenKind::kControl},
    {"<|im_end|>", TokenKind::kControl},          {"<|object_ref_start|>", TokenKind::kControl},
    {"<|object_ref_end|>", TokenKind::kControl},  {"<|box_start|>", TokenKind::kControl},
    {"<|box_end|>", TokenKind::kControl},         {"<|quad_start|>", TokenKind::kControl},
    {"<|quad_end|>", TokenKind::kControl},        {"<|vision_start|>", TokenKind::kControl},
    {"<|vision_end|>", TokenKind::kControl},      {"<|vision_pad|>", TokenKind::kControl},
    {"<|image_pad|>", TokenKind::kControl},       {"<|video_pad|>", TokenKind::kControl},
    {"<tool_call>", TokenKind::kUserDefined},     {"</tool_call>", TokenKind::kUserDefined},
    {"<|fim_prefix|>", TokenKind::kControl},      {"<|fim_middle|>", TokenKind::kControl},
    {"<|fim_suffix|>", TokenKind::kControl},      {"<|fim_pad|>", TokenKind::kControl},
    {"<|repo_name|>", TokenKind::kControl},       {"<|file_sep|>", TokenKind::kControl},
    {"<tool_response>", TokenKind::kUserDefined}, {"</tool_response>", TokenKind::kUserDefined},
    {"<think>", TokenKind::kUserDefined},         {"</think>", TokenKind::kUserDefined},
};
constexpr int kRows = 151936;

[[noreturn]] void stop(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
}

}  // namespace

TokenizerSpec byte_spec() {
  TokenizerSpec spec{.model = "gpt2", .pre_tokenizer = "qwen2"};
  for (int byte = 0; byte < 256; ++byte) {
    append_as_character(static_cast<uint8_t>(byte), spec.tokens.emplace_back());
  }
  // In the order of the characters: one byte long before two.
  std::sort(spec.tokens.begin(), spec.tokens.end());
  spec.kinds.assign(256, static_cast<int32_t>(TokenKind::kNormal));
  return spec;
}

TokenizerSpec qwen3_spec() {
  const std::string path = SLUICE_TEST_DATA "/data/tokenizer/qwen_merges.bin";
  std::ifstream file(path, std::ios::binary);
  const std::string packed{std::istreambuf_iterator<char>(file), {}};
  if (packed.empty() || packed.size() % 6 != 0) stop("cannot read " + path);
  TokenizerSpec spec = byte_spec();
  for (size_t i = 0; i < packed.size(); i += 6) {
    const auto id = [&](size_t at) {
      return size_t{static_cast<uint8_t>(packed[at])} |
             size_t{static_cast<uint8_t>(packed[at + 1])} << 8 |
             size_t{static_cast<uint8_t>(packed[at + 2])} << 16;
    };
    const std::string& left = spec.tokens.at(id(i));
    const std::string& right = spec.tokens.at(id(i + 3));
    spec.merges.push_back(left + " " + right);
    std::string joined = left + right;
    spec.tokens.push_back(std::move(joined));
  }
  spec.kinds.resize(spec.tokens.size(), static_cast<int32_t>(TokenKind::kNormal));
  for (const auto& [text, kind] : kAdded) {
    spec.tokens.emplace_back(text);
    spec.kinds.push_back(static_cast<int32_t>(kind));
  }
  while (spec.tokens.size() < kRows) {
    spec.tokens.push_back("[PAD" + std::to_string(spec.tokens.size()) + "]");
    spec.kinds.push_back(static_cast<int32_t>(TokenKind::kUnused));
  }
  spec.end_of_generation = {kTurnEnd};
  return spec;
}

const Tokenizer& qwen3() {
  static const Tokenizer tokenizer = [] {
    auto created = Tokenizer::create(qwen3_spec());
    if (!created) stop(created.error().message);
    return std::move(*created);
  }();
  return tokenizer;
}

}  // namespace sluice::text
