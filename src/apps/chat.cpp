// SPDX-License-Identifier: Apache-2.0
// The conversation at the terminal: history, commands, and Ctrl-C that stops the answer only.
#include <editline/readline.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "apps/commands.h"
#include "apps/run.h"
#include "engine/chat.h"

namespace sluice::apps {
namespace {

constexpr const char* kHelp =
    "/clear  forget the conversation    /regen  another answer to the last message\n"
    "/exit   end (also Ctrl-D)          Ctrl-C  stop the answer\n";

// One line without its newline; false at the end of input. An interrupted line comes back empty.
bool read_line(bool terminal, const char* prompt, std::string& line) {
  if (!terminal) return static_cast<bool>(std::getline(std::cin, line));
  char* text = readline(prompt);
  if (!text) {
    line.clear();
    return interrupted.exchange(false);  // Ctrl-C at the prompt clears the line, Ctrl-D ends
  }
  line = text;
  std::free(text);
  if (!line.empty()) add_history(line.c_str());
  return true;
}

bool read_message(bool terminal, bool multiline, std::string& message) {
  message.clear();
  std::string line;
  for (bool first = true;; first = false) {
    if (!read_line(terminal, first ? "\n> " : "  ", line)) return !message.empty();
    if (!multiline || (first && line.starts_with("/"))) {
      message = line;
      return true;
    }
    if (line.empty()) return true;
    message += (first ? "" : "\n") + line;
  }
}

}  // namespace

Status chat(engine::Session& session, const RunOptions& options) {
  const engine::Engine& engine = session.engine();
  const bool terminal = isatty(STDIN_FILENO);
  engine::SamplingParams params = options.common.apply_sampling(engine.default_sampling());
  SLUICE_ASSIGN(engine::Sampler sampler, engine.make_sampler(params));
  params.seed = sampler.seed();
  engine::ChatOptions chat_options;
  chat_options.kwargs = options.template_kwargs;

  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  const auto clear = [&] {
    messages.clear();
    if (!options.system.empty())
      messages.push_back({{"role", "system"}, {"content", options.system}});
  };
  clear();
  catch_interrupts();
  if (terminal) {
    stifle_history(1000);
    std::fputs(kHelp, stderr);
  }

  int64_t asked = 0, unanswered = 0;
  std::optional<std::string> given = options.prompt;
  for (std::string message;;) {
    if (given) {
      message = *std::exchange(given, std::nullopt);
    } else if (!read_message(terminal, options.multiline, message)) {
      if (terminal) return print_out("\n");
      if (unanswered == 0) return {};
      return fail(ErrorKind::kIo, "{} of {} messages had no answer: see the errors above",
                  unanswered, asked);
    }
    if (message.empty()) continue;
    if (message == "/exit" || message == "/quit") return {};
    if (message == "/help") {
      std::fputs(kHelp, stderr);
      continue;
    }
    if (message == "/clear") {
      clear();
      continue;
    }
    if (message == "/regen") {
      if (messages.empty() || messages.back()["role"] != "assistant") {
        std::fputs("there is no answer to replace yet\n", stderr);
        continue;
      }
      messages.erase(messages.size() - 1);
      ++params.seed;  // the same seed would give the same answer
      SLUICE_ASSIGN(sampler, engine.make_sampler(params));
    } else {
      messages.push_back({{"role", "user"}, {"content", message}});
    }

    ++asked;
    auto prompt = engine::render_chat(engine, messages, chat_options);
    std::vector<int64_t> turns;
    if (prompt && session.checkpoints().limit() > 0)
      turns = engine::turn_boundaries(engine, messages, chat_options, *prompt);
    auto result = prompt ? answer(session, sampler, *prompt, std::move(turns), options)
                         : Result<engine::GenerateResult>(fail(prompt.error()));
    if (!result) {
      // A message that does not fit, or whose experts could not be read, is dropped; the
      // conversation goes on.
      const ErrorKind kind = result.error().kind;
      const bool misfit = kind == ErrorKind::kTooLarge || kind == ErrorKind::kUsage;
      const bool disk =
          (kind == ErrorKind::kIo || kind == ErrorKind::kBadFile) && std::ferror(stdout) == 0;
      if (!misfit && (!disk || options.single_turn)) return fail(std::move(result.error()));
      std::fprintf(stderr, "%s%s\n", result.error().message.c_str(),
                   misfit ? " (/clear forgets the conversation)" : "");
      messages.erase(messages.size() - 1);
      if (misfit && (options.single_turn || !terminal)) return fail(std::move(result.error()));
      ++unanswered;
      continue;
    }
    messages.push_back({{"role", "assistant"}, {"content", result->text}});
    if (options.single_turn) return {};
  }
}

}  // namespace sluice::apps
