// SPDX-License-Identifier: Apache-2.0
// Cuts a template into text and tokens. Blocks are trimmed as transformers does it: the newline
// after a block or comment goes, and the blanks before one that begins its line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/budget.h"

namespace sluice::text::jinja {

enum class TokenType {
  kText,  // outside of any tag
  kBlockBegin,
  kBlockEnd,
  kOutputBegin,
  kOutputEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text is the sign itself
  kEnd,
};

struct TemplateToken {
  TokenType type = TokenType::kEnd;
  std::string text;  // strings: with escapes resolved
  Position at;
};

// Throws Failure (kBadFile) with the position. The last token is kEnd.
std::vector<TemplateToken> tokenize_template(std::string_view source);

}  // namespace sluice::text::jinja
