// SPDX-License-Identifier: Apache-2.0
#include "report/study_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "report/study.h"
#include "storage/cache_folder.h"

namespace sluice::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kMostBytes = uint64_t{16} << 20;

// Reads the fields of one object, each at most once; errors name file and field.
class Fields {
 public:
  Fields(const std::string& path, std::string where, const Json& object)
      : path_(path), where_(std::move(where)), object_(object) {}

  template <typename... Args>
  auto wrong(const std::string& field, fmt::format_string<Args...> format, Args&&... args) const {
    return fail(ErrorKind::kUsage, "{}: {}: {}", path_,
                where_.empty() ? field : fmt::format("{}.{}", where_, field),
                fmt::format(format, std::forward<Args>(args)...));
  }

  Status text(const char* field, std::string& value) {
    const Json* found = take(field);
    if (!found) return {};
    if (!found->is_string() || found->get_ref<const std::string&>().empty())
      return wrong(field, "must be a text");
    value = found->get<std::string>();
    return {};
  }

  template <typename T>
  Status number(const char* field, T& value, double least, double most) {
    const Json* found = take(field);
    if (!found) return {};
    const double given = found->is_number() ? found->get<double>() : std::nan("");
    if (!(given >= least && given <= most) || (std::is_integral_v<T> && given != std::floor(given)))
      return wrong(field, "must be a {}number from {:.0f} to {:.0f}",
                   std::is_integral_v<T> ? "whole " : "", least, most);
    value = static_cast<T>(given);
    return {};
  }

  Status bytes(const char* field, uint64_t& value) {
    const Json* found = take(field);
    if (!found) return {};
    const Result<uint64_t> parsed =
        parse_bytes(found->is_string() ? found->get<std::string>() : found->dump());
    if (!parsed) return wrong(field, "{}", parsed.error().message);
    value = *parsed;
    return {};
  }

  const Json* take(const std::string& field) {
    taken_.insert(field);
    const auto found = object_.find(field);
    return found == object_.end() ? nullptr : &*found;
  }

  // Nothing may be left: a misspelt name would change nothing, and say so nowhere.
  Status finish(const std::string& allowed) const {
    for (const auto& [name, value] : object_.items())
      if (!taken_.contains(name)) return wrong(name, "is unknown; known are {}", allowed);
    return {};
  }

 private:
  const std::string& path_;
  std::string where_;
  const Json& object_;
  std::set<std::string> taken_;
};

Status read_models(const std::string& path, const Json& list, Report& report) {
  const fs::path folder = fs::path(path).parent_path();
  if (!list.is_array() || list.empty())
    return fail(ErrorKind::kUsage, "{}: models: must be a list of files", path);
  for (size_t i = 0; i < list.size(); ++i) {
    Model model;
    const std::string where = fmt::format("models[{}]", i);
    if (list[i].is_string()) {
      model.path = list[i].get<std::string>();
    } else if (list[i].is_object()) {
      Fields fields(path, where, list[i]);
      SLUICE_TRY(fields.text("path", model.path));
      SLUICE_TRY(fields.text("name", model.name));
      SLUICE_TRY(fields.finish("path and name"));
    }
    if (model.path.empty())
      return fail(ErrorKind::kUsage, "{}: {}: must be a file's path, or {{\"path\": ...}}", path,
                  where);
    if (fs::path(model.path).is_relative()) model.path = (folder / model.path).string();
    report.models.push_back(std::move(model));
  }
  return {};
}

Status read_settings(const std::string& path, const Json& list, Report& report) {
  if (!list.is_array() || list.empty())
    return fail(ErrorKind::kUsage,
                "{}: settings: must be a list of objects such as "
                "{{\"ram\": \"8G\"}}",
                path);
  std::string allowed = "name, memory";
  for (const SettingFlag& flag : setting_flags()) allowed += ", " + flag.name;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("settings[{}]", i);
    if (!list[i].is_object())
      return fail(ErrorKind::kUsage, "{}: {}: must be an object such as {{\"ram\": \"8G\"}}", path,
                  where);
    Setting setting;
    Fields fields(path, where, list[i]);
    SLUICE_TRY(fields.text("name", setting.name));
    SLUICE_TRY(fields.bytes("memory", setting.memory_limit));
    for (const auto& [name, value] : list[i].items()) {
      const SettingFlag* flag = find_setting_flag(name);
      if (!flag) continue;
      fields.take(name);
      if (!value.is_string() && !value.is_number_integer())
        return fields.wrong(name, "must be a text or a whole number");
      setting.flags.emplace_back(flag->name,
                                 value.is_string() ? value.get<std::string>() : value.dump());
    }
    SLUICE_TRY(fields.finish(allowed));
    report.settings.push_back(std::move(setting));
  }
  return {};
}

std::string file_name(const std::string& path) {
  std::string name = fs::path(path).filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name;
}

// "M-00001-of-00003": with the other parts.
uint64_t bytes_of(const std::string& path) {
  std::error_code error;
  const auto size = [&](const std::string& file) -> uint64_t {
    const auto bytes = fs::file_size(file, error);
    return error ? 0 : bytes;
  };
  int part = 0, parts = 0;
  const size_t at = path.size() > 20 ? path.size() - 20 : std::string::npos;
  if (at == std::string::npos ||
      std::sscanf(path.c_str() + at, "-%5d-of-%5d.gguf", &part, &parts) != 2 || part != 1 ||
      parts < 1 || parts > 99999)
    return size(path);
  uint64_t bytes = 0;
  for (int i = 1; i <= parts; ++i)
    bytes += size(fmt::format("{}-{:05}-of-{:05}.gguf", path.substr(0, at), i, parts));
  return bytes;
}

template <typename Item>
void make_unique(std::vector<Item>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string name = items[i].name;
    int number = 1;
    const auto taken = [&] {
      return std::any_of(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(i),
                         [&](const Item& other) { return other.name == items[i].name; });
    };
    while (taken()) items[i].name = fmt::format("{} ({})", name, ++number);
  }
}

}  // namespace

Result<uint64_t> parse_bytes(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  std::string unit = end;
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const size_t found = unit.empty() || unit == "b" ? 0 : std::string_view("kmgt").find(unit[0]);
  const size_t power = unit.empty() || unit == "b" ? 0 : found + 1;
  const std::string rest = power > 0 ? unit.substr(1) : "";
  const bool decimal = rest == "b";
  const double bytes = number * std::pow(decimal ? 1000.0 : 1024.0, static_cast<double>(power));
  if (end == text.c_str() || text.find_first_not_of("0123456789.") == 0 ||
      found == std::string_view::npos || (!rest.empty() && !decimal && rest != "ib") ||
      !(bytes >= 1) || bytes >= 0x1p62)
    return fail(ErrorKind::kUsage, "must be a size such as 4G, 900M or 1.5GiB");
  return static_cast<uint64_t>(bytes);
}

Status read_study(const std::string& path, Report& report) {
  SLUICE_ASSIGN(const std::string text, storage::read_small_file(path, kMostBytes));
  const Json root = Json::parse(text, nullptr, false);
  if (!root.is_object())
    return fail(ErrorKind::kUsage,
                "{}: must be a JSON object such as {{\"models\": [\"a.gguf\"], \"settings\": "
                "[{{\"ram\": \"8G\"}}]}}",
                path);
  Fields fields(path, "", root);
  SLUICE_TRY(fields.text("title", report.title));
  SLUICE_TRY(fields.text("question", report.question));
  SLUICE_TRY(fields.number("prompt_tokens", report.prompt_tokens, 0, 1e6));
  SLUICE_TRY(fields.number("generated_tokens", report.generated_tokens, 0, 1e6));
  SLUICE_TRY(fields.number("answer_tokens", report.answer_tokens, 1, 1e6));
  SLUICE_TRY(fields.number("repetitions", report.repetitions, 1, 1000));
  SLUICE_TRY(fields.number("timeout", report.timeout, 0, 1e7));
  if (const Json* models = fields.take("models")) SLUICE_TRY(read_models(path, *models, report));
  if (const Json* settings = fields.take("settings"))
    SLUICE_TRY(read_settings(path, *settings, report));
  return fields.finish(
      "title, question, prompt_tokens, generated_tokens, answer_tokens, repetitions, timeout, "
      "models, settings");
}

Status complete_study(Report& report) {
  if (report.models.empty())
    return fail(ErrorKind::kUsage, "no model: give GGUF files with -m, or a study with --study");
  if (report.settings.empty()) report.settings.emplace_back();
  for (Model& model : report.models) {
    if (model.name.empty()) model.name = file_name(model.path);
    model.file_bytes = bytes_of(model.path);
  }
  for (Setting& setting : report.settings)
    if (setting.name.empty()) setting.name = name_of(setting);
  make_unique(report.models);
  make_unique(report.settings);
  return {};
}

}  // namespace sluice::report
