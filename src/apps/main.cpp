// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "apps/commands.h"
#include "base/log.h"
#include "base/no_memory.h"

namespace sluice::apps {

std::atomic<bool> interrupted{false};

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) {
    if (interrupted.exchange(true)) _exit(130);
  };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

Status print_out(std::string_view text) {
  // Not through stdio, which loses what a signal interrupts.
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0)
      text.remove_prefix(static_cast<size_t>(written));
    else if (errno != EINTR)
      return fail(ErrorKind::kIo, "standard output: {}", std::strerror(errno));
  }
  return {};
}

void remember_usage(engine::Engine& engine) {
  if (const Status done = engine.remember_usage(); !done)
    spdlog::warn("{} (the next start is a cold one)", done.error().message);
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      {"run", {"cli", "--run", "-r"}, "answer a prompt, or chat", run_command},
      {"serve", {"server", "--server", "-s"}, "answer HTTP requests", serve_command},
      {"top", {}, "what a server's machine does, in the terminal", top_command},
      {"inspect", {}, "what a GGUF file holds", inspect_command},
      {"tokenize", {}, "text to token ids", tokenize_command},
      {"detokenize", {}, "token ids to text", detokenize_command},
      {"eval", {}, "logits and perplexity", eval_command, {{"logits"}, {"perplexity"}}},
      {"quantize", {"--quantize", "-q"}, "write a model in another type", quantize_command},
      {"bench", {"--bench", "-b"}, "measure speed as llama-bench does", bench_command},
      {"plan", {}, "whether a model runs here, and how fast", plan_command},
      {"doctor", {}, "whether this machine is set up for it", doctor_command},
      {"replay", {}, "hit rates of expert caches on a trace of run", replay_command},
      {"synth", {}, "write a model of a published shape with random weights", synth_command},
      {"report", {}, "measure models in settings, and write a page about it", report_command},
      {"pull", {"download"}, "download a model, or go on with it", pull_command},
      {"list", {"ls", "-cl", "--cache-list"}, "models that were downloaded", list_command},
      {"rm", {}, "delete a downloaded model", rm_command},
      {"completion",
       {},
       "completion for bash, zsh and fish, and the manual page",
       completion_command},
  };
  return all;
}

namespace {

void print_usage(std::FILE* to) {
  std::fputs(
      "Sluice runs mixture-of-experts language models from GGUF files.\n\n"
      "Usage: sluice COMMAND [flags]\n\nCommands:\n",
      to);
  for (const Command& command : commands())
    std::fprintf(to, "  %-12s %s\n", command.name, command.description);
  std::fputs("\n`sluice COMMAND --help` lists a command's flags.\n", to);
}

int exit_code(const Error& error) {
  return error.kind == ErrorKind::kUsage ? 2 : 1;
}

int run(int argc, char** argv) {
  const Arguments all(argv + 1, argv + argc);
  if (all.empty()) {
    print_usage(stderr);
    return 2;
  }
  if (all[0] == "help" || all[0] == "--help" || all[0] == "-h") {
    print_usage(stdout);
    return 0;
  }
  if (all[0] == "version" || all[0] == "--version") {
    std::puts("sluice " SLUICE_VERSION);
    return 0;
  }
  for (const Command& command : commands()) {
    bool match = all[0] == command.name;
    for (const std::string& alias : command.aliases) match |= all[0] == alias;
    if (!match) continue;
    const Arguments rest(all.begin() + 1, all.end());
    const Status status = or_no_memory([&] { return command.run(rest); });
    if (status) return 0;
    std::fprintf(stderr, "sluice %s: %s\n", command.name, status.error().message.c_str());
    return exit_code(status.error());
  }
  std::fprintf(stderr, "sluice: unknown command \"%s\"; `sluice help` lists them\n",
               all[0].c_str());
  return 2;
}

}  // namespace
}  // namespace sluice::apps

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error of the write
  sluice::init_logging(2);
  return sluice::apps::run(argc, argv);
}
