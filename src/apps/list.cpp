// SPDX-License-Identifier: Apache-2.0
// sluice list and sluice rm: the models that were downloaded.
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/options.h"
#include "apps/progress.h"
#include "base/size_text.h"
#include "hub/cache.h"

namespace sluice::apps {
namespace {

Flag switch_flag(const char* name, const char* help, bool& field) {
  return {name, {}, "", "", help, [&field](const std::string& text) -> Status {
            field = text == "true";
            return {};
          }};
}

std::string state_text(const hub::CachedModel& model) {
  if (model.complete()) return size_text(model.bytes);
  return fmt::format("{:.0f} % of {}",
                     100.0 * static_cast<double>(model.here) / static_cast<double>(model.bytes),
                     size_text(model.bytes));
}

std::string as_json(const std::vector<hub::CachedModel>& models) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const hub::CachedModel& model : models)
    all.push_back({{"name", model.name},
                   {"path", model.path},
                   {"commit", model.commit},
                   {"bytes", model.bytes},
                   {"here", model.here},
                   {"complete", model.complete()}});
  return all.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// "OWNER/REPO" means all of it, otherwise the name or the path as `list` shows them.
bool is_meant(const hub::CachedModel& model, const std::string& text) {
  return model.name == text || (!model.path.empty() && model.path == text) ||
         (!model.repo_folder.empty() && text.find(':') == std::string::npos &&
          (model.name.starts_with(text + ":") || model.name.starts_with(text + " ")));
}

}  // namespace

Status list_command(const Arguments& arguments) {
  bool json = false;
  SLUICE_ASSIGN(const bool go,
                parse_flags("list",
                            "Lists the models that were downloaded, by any program that "
                            "uses the hub's folder.",
                            {switch_flag("--json", "as JSON", json)}, arguments));
  if (!go) return {};
  SLUICE_ASSIGN(const hub::Settings settings, hub::Settings::from_environment());
  SLUICE_ASSIGN(const std::vector<hub::CachedModel> models, hub::list_cache(settings));
  if (json) return print_out(as_json(models));
  if (models.empty())
    return print_out(
        fmt::format("no models in {}: `sluice pull OWNER/REPO` downloads one\n", settings.cache));
  size_t names = 4, states = 4;
  for (const hub::CachedModel& model : models) {
    names = std::max(names, model.name.size());
    states = std::max(states, state_text(model).size());
  }
  std::string out = fmt::format("{:<{}}  {:>{}}  {}\n", "name", names, "size", states, "file");
  for (const hub::CachedModel& model : models)
    out += fmt::format("{:<{}}  {:>{}}  {}\n", model.name, names, state_text(model), states,
                       model.complete() ? model.path : "not complete: sluice pull goes on");
  return print_out(out);
}

Status rm_command(const Arguments& arguments) {
  std::vector<std::string> names;
  SLUICE_ASSIGN(const bool go,
                parse_flags("rm",
                            "Deletes downloaded models, given as `sluice list` shows them; "
                            "OWNER/REPO: all of its GGUF files.",
                            {}, arguments, &names));
  if (!go) return {};
  if (names.empty())
    return fail(ErrorKind::kUsage, "which model: give a name or path that `sluice list` shows");
  SLUICE_ASSIGN(const hub::Settings settings, hub::Settings::from_environment());
  for (const std::string& name : names) {
    SLUICE_ASSIGN(const std::vector<hub::CachedModel> models, hub::list_cache(settings));
    bool found = false;
    for (const hub::CachedModel& model : models) {
      if (!is_meant(model, name)) continue;
      found = true;
      SLUICE_ASSIGN(const uint64_t freed, hub::remove_cached(model));
      SLUICE_TRY(print_out(fmt::format("{}: deleted, {} free\n", model.name, size_text(freed))));
    }
    if (!found)
      return fail(ErrorKind::kNotFound, "{}: is not here: `sluice list` shows what is", name);
  }
  return {};
}

}  // namespace sluice::apps
