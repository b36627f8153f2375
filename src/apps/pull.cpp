// SPDX-License-Identifier: Apache-2.0
// sluice pull: from a name to a file.
#include "hub/pull.h"

#include <unistd.h>

#include <chrono>

#include "apps/commands.h"
#include "apps/options.h"
#include "apps/progress.h"
#include "base/size_text.h"

namespace sluice::apps {
namespace {

struct PullOptions {
  std::vector<std::string> models;
  hub::PullRequest request;
  std::string token;
  bool offline = false;
  bool quiet = false;
};

std::vector<Flag> pull_flags(PullOptions& o) {
  hub::PullRequest& r = o.request;
  const auto text = [](std::string& field) {
    return [&field](const std::string& value) -> Status {
      field = value;
      return {};
    };
  };
  const auto on = [](bool& field) {
    return [&field](const std::string& value) -> Status {
      field = value == "true";
      return {};
    };
  };
  const auto model = [&o](const std::string& value) -> Status {
    o.models.push_back(value);
    return {};
  };
  return {
      {"--hf-repo", {"-hf", "-hfr"}, "", "OWNER/REPO[:QUANT]", "as without the flag", model},
      {"--model-url", {"-mu"}, "", "URL", "as without the flag", model},
      {"--hf-file",
       {"-hff"},
       "HF_FILE",
       "PATH",
       "which file of the repository, instead of QUANT",
       text(r.file)},
      {"--revision",
       {},
       "",
       "REV",
       "branch, tag or commit of the repository (main)",
       text(r.revision)},
      {"--hf-token",
       {"-hft"},
       "",
       "TOKEN",
       "for models that need one (HF_TOKEN, which other users cannot see)",
       text(o.token)},
      {"--output", {"-o"}, "", "FILE", "of an address: where to write it", text(r.output)},
      {"--sha256", {}, "", "HEX", "of an address: what the file must have", text(r.sha256)},
      {"--connections",
       {},
       "",
       "N",
       "ranges that are fetched at once (4)",
       [&r](const std::string& value) -> Status {
         SLUICE_ASSIGN(const int64_t number, parse_integer(value, 1, 32));
         r.connections = static_cast<int>(number);
         return {};
       }},
      {"--verify", {}, "", "", "hash what is here already", on(r.verify)},
      {"--offline", {}, "OFFLINE", "", "only say where it is (HF_HUB_OFFLINE)", on(o.offline)},
      {"--quiet", {}, "", "", "no progress", on(o.quiet)},
  };
}

Status pull_one(const hub::Settings& settings, const hub::PullRequest& request, bool quiet) {
  ProgressMeter meter(isatty(STDERR_FILENO));
  const auto start = std::chrono::steady_clock::now();
  auto pulled = hub::pull(settings, request, [&](const hub::PullProgress& progress) {
    if (!quiet) meter.show(progress);
  });
  meter.finish();
  if (!pulled && pulled.error().kind == ErrorKind::kCancelled)
    return fail(ErrorKind::kCancelled, "{}: stopped on request: the same command goes on from here",
                request.model);
  if (!pulled) return fail(std::move(pulled.error()));
  if (!quiet) {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::string line = fmt::format("{}: {}", pulled->name, size_text(pulled->bytes));
    if (pulled->fetched == 0)
      line += ", was here";
    else
      line += fmt::format(", {} fetched in {:.1f} s", size_text(pulled->fetched), seconds);
    if (pulled->fetched > 0 || request.verify)
      line += pulled->checked ? ", SHA-256 is right" : ", no SHA-256 to check against";
    if (!pulled->checked && !pulled->sha256.empty()) line += ": " + pulled->sha256;
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  return print_out(pulled->path + "\n");
}

}  // namespace

Status pull_command(const Arguments& arguments) {
  PullOptions options;
  SLUICE_ASSIGN(
      const bool go,
      parse_flags("pull",
                  "Downloads models: OWNER/REPO[:QUANT] of the hub (HF_ENDPOINT), or addresses.\n"
                  "Goes on where an earlier try ended, and prints the path of the file.",
                  pull_flags(options), arguments, &options.models));
  if (!go) return {};
  if (options.models.empty())
    return fail(ErrorKind::kUsage,
                "no model: give OWNER/REPO, OWNER/REPO:QUANTISATION or an address");
  SLUICE_ASSIGN(hub::Settings settings, hub::Settings::from_environment());
  settings.offline |= options.offline;
  if (!options.token.empty()) settings.token = options.token;
  catch_interrupts();
  settings.cancel = &interrupted;
  if (options.models.size() > 1 &&
      !(options.request.output.empty() && options.request.sha256.empty() &&
        options.request.file.empty()))
    return fail(ErrorKind::kUsage, "--output, --sha256 and --hf-file are for one model");
  for (const std::string& model : options.models) {
    options.request.model = model;
    SLUICE_TRY(pull_one(settings, options.request, options.quiet));
  }
  return {};
}

}  // namespace sluice::apps
