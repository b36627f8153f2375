// SPDX-License-Identifier: Apache-2.0
// sluice eval: logits of every position, perplexity.
#include <cstring>
#include <fstream>
#include <sstream>

#include "apps/commands.h"
#include "apps/options.h"
#include "base/log.h"
#include "engine/perplexity.h"

namespace sluice::apps {
namespace {

Flag path_flag(const char* name, std::vector<std::string> aliases, const char* help,
               std::string& field) {
  return {name, std::move(aliases), "", "FILE", help, [&field](const std::string& text) -> Status {
            field = text;
            return {};
          }};
}

Result<std::vector<text::Token>> read_token_file(const std::string& path) {
  SLUICE_ASSIGN(const std::string text, read_text_file(path));
  std::istringstream in(text);
  std::vector<text::Token> tokens;
  for (std::string word; in >> word;) {
    const Result<int64_t> id = parse_integer(word, 0, INT32_MAX);
    if (!id)
      return fail(ErrorKind::kUsage, "{}: \"{}\" (word {}) is not a token id", path, word,
                  tokens.size() + 1);
    tokens.push_back(static_cast<text::Token>(*id));
  }
  if (tokens.empty()) return fail(ErrorKind::kUsage, "{}: no token ids in it", path);
  return tokens;
}

Status eval_logits(const Arguments& arguments) {
  CommonOptions common;
  std::string tokens_file, out_file;
  std::vector<Flag> flags = model_flags(common);
  flags.push_back(path_flag("--tokens-file", {}, "token ids, separated by blanks", tokens_file));
  flags.push_back(
      path_flag("--out", {"-o"}, "little-endian f32 [positions, vocabulary]", out_file));
  SLUICE_ASSIGN(const bool go, parse_flags("eval logits", "Writes the logits of every position.",
                                           flags, arguments));
  if (!go) return {};
  init_logging(common.verbosity);
  SLUICE_TRY(find_model(common));
  if (tokens_file.empty())
    return fail(ErrorKind::kUsage, "no input: give token ids with --tokens-file");
  if (out_file.empty()) return fail(ErrorKind::kUsage, "no output: give a file with --out");
  SLUICE_ASSIGN(const std::vector<text::Token> tokens, read_token_file(tokens_file));
  SLUICE_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(common.engine));
  SLUICE_ASSIGN(engine::Session session, engine::Session::create(*engine));

  std::ofstream out(out_file, std::ios::binary | std::ios::trunc);
  if (!out) return fail(ErrorKind::kIo, "{}: {}", out_file, std::strerror(errno));
  SLUICE_TRY(session.feed_all_logits(tokens, [&](std::span<const float> rows) -> Status {
    out.write(reinterpret_cast<const char*>(rows.data()),
              static_cast<std::streamsize>(rows.size_bytes()));
    if (!out)
      return fail(ErrorKind::kIo, "{}: {}: is the disk full?", out_file, std::strerror(errno));
    return {};
  }));
  out.close();
  if (!out)
    return fail(ErrorKind::kIo, "{}: {}: is the disk full?", out_file, std::strerror(errno));
  return print_out(fmt::format("{}: {} x {} logits\n", out_file, tokens.size(),
                               engine->model().config().vocabulary));
}

Status eval_perplexity(const Arguments& arguments) {
  CommonOptions common;
  std::string text_file;
  std::vector<Flag> flags = model_flags(common);
  flags.push_back(path_flag("--file", {"-f"}, "text to score", text_file));
  SLUICE_ASSIGN(
      const bool go,
      parse_flags("eval perplexity",
                  "Perplexity over windows of -c tokens (512), the second half of each scored.",
                  flags, arguments));
  if (!go) return {};
  init_logging(common.verbosity);
  SLUICE_TRY(find_model(common));
  if (text_file.empty()) return fail(ErrorKind::kUsage, "no text: give a file with -f");
  SLUICE_ASSIGN(const std::string text, read_text_file(text_file));
  const int64_t window = common.engine.context > 0 ? common.engine.context : 512;
  common.engine.context = window;
  SLUICE_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(common.engine));
  SLUICE_ASSIGN(engine::Session session, engine::Session::create(*engine));
  const std::vector<text::Token> tokens =
      engine->tokenizer().encode(text, text::SpecialTokens::kText);
  SLUICE_ASSIGN(
      const engine::Perplexity result,
      engine::perplexity(session, tokens, window, [](const engine::Perplexity& p, int64_t windows) {
        spdlog::info("[{}/{}] {:.4f}", p.chunks, windows, p.value);
      }));
  return print_out(
      fmt::format("Final estimate: PPL = {:.4f} +/- {:.5f} ({} tokens in {} windows of {})\n",
                  result.value, result.error, result.tokens, result.chunks, window));
}

}  // namespace

Status eval_command(const Arguments& arguments) {
  const std::string what = arguments.empty() ? "" : arguments[0];
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (what == "logits") return eval_logits(rest);
  if (what == "perplexity") return eval_perplexity(rest);
  return fail(ErrorKind::kUsage,
              "what to evaluate: `sluice eval logits` or `sluice eval perplexity`");
}

}  // namespace sluice::apps
