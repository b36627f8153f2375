// SPDX-License-Identifier: Apache-2.0
// Models that are named and not lying around: fetched before they are used.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "apps/commands.h"
#include "apps/options.h"
#include "apps/progress.h"
#include "base/log.h"
#include "hub/model_name.h"
#include "hub/pull.h"
#include "hub/url.h"

namespace sluice::apps {

namespace {

Result<hub::Settings> settings_of(const ModelSource& source) {
  SLUICE_ASSIGN(hub::Settings settings, hub::Settings::from_environment());
  settings.offline |= source.offline;
  if (!source.token.empty()) settings.token = source.token;
  catch_interrupts();
  interrupted = false;
  settings.cancel = &interrupted;
  return settings;
}

hub::PullRequest request_of(const ModelSource& source) {
  hub::PullRequest request;
  request.model = source.repository.empty() ? source.address : source.repository;
  request.file = source.repository.empty() ? "" : source.file;
  request.take_cached = true;
  return request;
}

Status need_model(const CommonOptions& options) {
  if (options.source.given() || !options.engine.model_path.empty()) return {};
  return fail(ErrorKind::kUsage,
              "no model: give a GGUF file with -m, or OWNER/REPO with -hf to download one");
}

}  // namespace

void take_model(const std::string& model, CommonOptions& options) {
  options.engine.model_path.clear();
  options.source.repository.clear();
  options.source.address.clear();
  std::error_code error;
  if (hub::is_address(model))
    options.source.address = model;
  else if (!std::filesystem::exists(model, error) && !hub::is_gguf_name(model) &&
           std::ranges::count(model, '/') == 1)
    options.source.repository = model;
  else
    options.engine.model_path = model;
}

Status find_model(CommonOptions& options) {
  SLUICE_TRY(need_model(options));
  if (!options.source.given()) return {};
  SLUICE_ASSIGN(const hub::Settings settings, settings_of(options.source));
  ProgressMeter meter(isatty(STDERR_FILENO));
  SLUICE_ASSIGN(const hub::Pulled pulled,
                hub::pull(settings, request_of(options.source),
                          [&](const auto& progress) { meter.show(progress); }));
  meter.finish();
  if (!pulled.warning.empty()) spdlog::warn("{}", pulled.warning);
  spdlog::info("{}: {}", pulled.name, pulled.path);
  options.engine.model_path = pulled.path;
  return {};
}

Result<gguf::Gguf> open_model(CommonOptions& options) {
  SLUICE_TRY(need_model(options));
  if (!options.source.given()) return gguf::Gguf::open(options.engine.model_path);
  SLUICE_ASSIGN(hub::Settings settings, settings_of(options.source));
  const hub::PullRequest request = request_of(options.source);
  const bool offline = std::exchange(settings.offline, true);
  const auto here = hub::pull(settings, request, [](const auto&) {});
  if (here) return gguf::Gguf::open(here->path);
  if (offline) return fail(here.error());
  settings.offline = false;
  SLUICE_ASSIGN(auto files, hub::open_remote(settings, request));
  return gguf::Gguf::parse(std::move(files));
}

}  // namespace sluice::apps
