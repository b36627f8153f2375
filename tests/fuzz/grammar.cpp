// SPDX-License-Identifier: Apache-2.0
// A grammar and a text from bytes: the part before the first byte 0 is GBNF, or a JSON schema if it
// begins with 'j'; what follows is matched. A mask must allow exactly what is accepted.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/matcher.h"
#include "text/grammar/program.h"

namespace {

using namespace sluice::text::grammar;

std::shared_ptr<const TokenTrie> byte_trie() {
  static const std::string bytes = [] {
    std::string all;
    for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
    return all;
  }();
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  for (size_t b = 0; b < 256; ++b)
    tokens.emplace_back(std::string_view(bytes).substr(b, 1), static_cast<int32_t>(b));
  return std::make_shared<const TokenTrie>(std::move(tokens), 256);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const TokenTrie> kTrie = byte_trie();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view source = input.substr(0, zero);
  const std::string_view text =
      zero == std::string_view::npos ? std::string_view() : input.substr(zero + 1).substr(0, 200);
  Grammar grammar;
  if (source.starts_with('j')) {
    auto made = grammar_of_schema(source.substr(1));
    if (!made) return 0;
    if (made->notes.size() > kMaxNotes) std::abort();
    grammar = std::move(made->grammar);
  } else {
    auto parsed = parse_gbnf(source);
    if (!parsed) return 0;
    grammar = std::move(*parsed);
  }
  auto program = compile(grammar);
  if (!program) {
    // Schemas never have left recursion.
    if (source.starts_with('j') && program.error().kind != sluice::ErrorKind::kTooLarge)
      std::abort();
    return 0;
  }
  Matcher matcher(std::make_shared<const Program>(std::move(*program)), kTrie);
  for (const char c : text) {
    const auto mask = matcher.mask();
    if (!mask) return 0;
    const auto byte = static_cast<uint8_t>(c);
    const bool allowed = ((*mask)->words[byte / 64] >> (byte % 64) & 1) != 0;
    if (matcher.accept(std::string_view(&c, 1)) != allowed) std::abort();
    if (!allowed) break;
  }
  return 0;
}
