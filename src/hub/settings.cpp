// SPDX-License-Identifier: Apache-2.0
#include "hub/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "storage/cache_folder.h"

namespace sluice::hub {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_on(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text == "1" || text == "true" || text == "on" || text == "yes";
}

std::string first_line(std::string text) {
  const auto blank = [](unsigned char c) { return c <= ' '; };
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), blank));
  return {text.begin(), std::find_if(text.begin(), text.end(), blank)};
}

std::string hub_home() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
    return cache + "/huggingface";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/huggingface";
}

Result<std::string> read_token(const std::string& home) {
  std::string token = first_line(variable("HF_TOKEN"));
  const char* where = "HF_TOKEN";
  if (token.empty()) {
    std::string path = variable("HF_TOKEN_PATH");
    if (path.empty() && !home.empty()) path = home + "/token";
    const auto text = path.empty() ? Result<std::string>("") : storage::read_small_file(path, 4096);
    if (text) token = first_line(*text);
    where = "the file of HF_TOKEN_PATH";
  }
  // It becomes part of a header.
  if (std::any_of(token.begin(), token.end(), [](unsigned char c) { return c < 33 || c > 126; }))
    return fail(ErrorKind::kUsage, "{}: is not a token: letters, digits and _ are expected", where);
  return token;
}

}  // namespace

Result<Settings> Settings::from_environment() {
  Settings settings;
  for (const char* name : {"HF_ENDPOINT", "MODEL_ENDPOINT"}) {
    std::string value = variable(name);
    while (value.ends_with('/')) value.pop_back();
    if (value.empty()) continue;
    if (const auto url = Url::parse(value); !url || url->text().find('?') != std::string::npos)
      return fail(ErrorKind::kUsage, "{}={}: must be an address such as https://huggingface.co",
                  name, value);
    settings.endpoint = value;
  }
  const std::string home = hub_home();
  SLUICE_ASSIGN(settings.token, read_token(home));
  settings.cache = variable("HF_HUB_CACHE");
  if (settings.cache.empty() && !home.empty()) settings.cache = home + "/hub";
  settings.downloads = storage::cache_folder();
  if (!settings.downloads.empty()) settings.downloads += "/downloads";
  settings.offline = is_on(variable("HF_HUB_OFFLINE"));
  if (const std::string text = variable("HF_HUB_DOWNLOAD_TIMEOUT"); !text.empty()) {
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), settings.stall_seconds);
    if (error != std::errc() || *end != '\0' || settings.stall_seconds < 1)
      return fail(ErrorKind::kUsage, "HF_HUB_DOWNLOAD_TIMEOUT={}: must be a number of seconds",
                  text);
  }
  return settings;
}

HttpOptions Settings::http() const {
  HttpOptions options;
  options.token = token;
  if (const auto url = Url::parse(endpoint)) options.token_origin = url->origin();
  options.stall_seconds = stall_seconds;
  options.cancel = cancel;
  return options;
}

}  // namespace sluice::hub
