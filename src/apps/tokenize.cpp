// SPDX-License-Identifier: Apache-2.0
// sluice tokenize, sluice detokenize.
#include <fmt/ranges.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/options.h"
#include "base/log.h"

namespace sluice::apps {
namespace {

Result<text::Tokenizer> open_tokenizer(CommonOptions& common) {
  SLUICE_ASSIGN(const gguf::Gguf file, open_model(common));
  return engine::load_tokenizer(file);
}

std::string standard_input() {
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

Flag text_flag(const char* name, std::vector<std::string> aliases, const char* value,
               const char* help, std::optional<std::string>& field) {
  return {name, std::move(aliases), "", value, help, [&field](const std::string& text) -> Status {
            field = text;
            return {};
          }};
}

Flag switch_flag(const char* name, const char* help, bool& field) {
  return {name, {}, "", "", help, [&field](const std::string& text) -> Status {
            field = text == "true";
            return {};
          }};
}

// Bytes shown on one line: control characters and invalid UTF-8 as JSON escapes.
std::string printable(std::string_view bytes) {
  return nlohmann::json(std::string(bytes))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Status tokenize_command(const Arguments& arguments) {
  CommonOptions common;
  std::optional<std::string> prompt, path;
  bool from_stdin = false, ids = false, parse_special = true, count = false;
  std::vector<Flag> flags = source_flags(common);
  flags.push_back(text_flag("--prompt", {"-p"}, "TEXT", "text to tokenize", prompt));
  flags.push_back(text_flag("--file", {"-f"}, "FILE", "file with the text", path));
  flags.push_back(switch_flag("--stdin", "read the text from standard input", from_stdin));
  flags.push_back(switch_flag("--ids", "print only a JSON array of ids", ids));
  flags.push_back(
      switch_flag("--parse-special", "recognise special tokens in the text (on)", parse_special));
  flags.push_back(switch_flag("--show-count", "print the number of tokens last", count));
  SLUICE_ASSIGN(const bool go,
                parse_flags("tokenize", "Text to token ids. Works on vocabulary-only files.", flags,
                            arguments));
  if (!go) return {};
  if ((prompt ? 1 : 0) + (path ? 1 : 0) + (from_stdin ? 1 : 0) != 1)
    return fail(ErrorKind::kUsage, "give the text with one of -p, -f and --stdin");
  std::string text;
  if (from_stdin) {
    text = standard_input();
  } else if (path) {
    SLUICE_ASSIGN(text, read_text_file(*path));
  } else {
    text = *prompt;
  }
  SLUICE_ASSIGN(const text::Tokenizer tokenizer, open_tokenizer(common));
  const std::vector<text::Token> tokens = tokenizer.encode(
      text, parse_special ? text::SpecialTokens::kParse : text::SpecialTokens::kText);
  std::string out;
  if (ids)
    out = fmt::format("[{}]\n", fmt::join(tokens, ", "));
  else
    for (const text::Token token : tokens)
      out += fmt::format("{:6} -> {}\n", token, printable(tokenizer.bytes(token)));
  if (count) out += fmt::format("Total number of tokens: {}\n", tokens.size());
  return print_out(out);
}

Status detokenize_command(const Arguments& arguments) {
  CommonOptions common;
  std::optional<std::string> list;
  bool from_stdin = false;
  std::vector<Flag> flags = source_flags(common);
  flags.push_back(text_flag("--ids", {}, "IDS",
                            "token ids, separated by blanks or commas, or a JSON array", list));
  flags.push_back(switch_flag("--stdin", "read the ids from standard input", from_stdin));
  SLUICE_ASSIGN(const bool go, parse_flags("detokenize", "Token ids to text.", flags, arguments));
  if (!go) return {};
  if (list.has_value() == from_stdin)
    return fail(ErrorKind::kUsage, "give the ids with --ids or --stdin");
  SLUICE_ASSIGN(const text::Tokenizer tokenizer, open_tokenizer(common));
  const std::string text = from_stdin ? standard_input() : *list;
  std::vector<text::Token> tokens;
  for (size_t at = text.find_first_not_of(" \t\r\n,[]"); at != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(" \t\r\n,[]", at), text.size());
    const std::string item = text.substr(at, end - at);
    const Result<int64_t> id = parse_integer(item, 0, tokenizer.size() - 1);
    if (!id)
      return fail(ErrorKind::kUsage, "\"{}\" is not a token id: ids {}", item, id.error().message);
    tokens.push_back(static_cast<text::Token>(*id));
    at = text.find_first_not_of(" \t\r\n,[]", end);
  }
  return print_out(tokenizer.decode(tokens, false));
}

}  // namespace sluice::apps
