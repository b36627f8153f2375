// SPDX-License-Identifier: Apache-2.0
#include "hub/listing.h"

#include <nlohmann/json.hpp>

namespace sluice::hub {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostAnswer = 16 << 20;
constexpr int kMostPages = 100;

Result<Json> get_json(Connection& connection, const Url& url, Response* response) {
  SLUICE_ASSIGN(const std::string text, connection.get_text(url, kMostAnswer, response));
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    const bool page = text.find("<html") != std::string::npos || text.starts_with("<");
    return fail(ErrorKind::kBadFile,
                "{}: answers with {} where the hub gives JSON: check HF_ENDPOINT, or a log-in page "
                "of the network",
                url.display(), page ? "a web page" : "something else");
  }
  return json;
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<uint64_t> size_at(const Json& object) {
  const auto found = object.find("size");
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  const auto size = found->get<uint64_t>();
  return size < (uint64_t{1} << 60) ? std::optional(size) : std::nullopt;
}

Result<RepoFile> read_entry(const Json& entry, const Url& url) {
  RepoFile file;
  file.path = text_at(entry, "path");
  const auto lfs = entry.find("lfs");
  const bool is_large = lfs != entry.end() && lfs->is_object();
  file.blob = text_at(is_large ? *lfs : entry, "oid");
  if (file.blob.starts_with("sha256:")) file.blob.erase(0, 7);
  if (is_large) file.sha256 = file.blob;
  const auto size = size_at(is_large ? *lfs : entry);
  if (!size)
    return fail(ErrorKind::kBadFile,
                "{}: the list gives no size for \"{}\": try another HF_ENDPOINT", url.display(),
                file.path.substr(0, 200));
  file.size = *size;
  return file;
}

// "<https://...>; rel="next"": the rest of a long list.
std::string next_page(const std::string& link) {
  const size_t relation = link.find("rel=\"next\"");
  if (relation == std::string::npos) return "";
  const size_t close = link.rfind('>', relation);
  const size_t open = close == std::string::npos ? close : link.rfind('<', close);
  return open == std::string::npos ? "" : link.substr(open + 1, close - open - 1);
}

}  // namespace

std::string file_address(const std::string& endpoint, const ModelName& name,
                         const std::string& revision, const std::string& path) {
  return endpoint + "/" + name.id() + "/resolve/" + escape_path(revision) + "/" + escape_path(path);
}

Result<Listing> list_files(Connection& connection, const std::string& endpoint,
                           const ModelName& name, const std::string& revision) {
  const std::string api = endpoint + "/api/models/" + name.id();
  std::string escaped;  // a branch "refs/pr/1" is one element of the path here
  for (const char c : revision) escaped += c == '/' ? "%2F" : std::string(1, c);
  SLUICE_ASSIGN(const Url about, Url::parse(api + "/revision/" + escaped));
  SLUICE_ASSIGN(const Json model, get_json(connection, about, nullptr));
  Listing listing;
  listing.commit = model.is_object() ? text_at(model, "sha") : "";
  if (!is_commit(listing.commit))
    return fail(ErrorKind::kBadFile, "{}: the answer names no commit: check HF_ENDPOINT",
                about.display());

  SLUICE_ASSIGN(Url page, Url::parse(api + "/tree/" + listing.commit + "?recursive=1"));
  const std::string origin = page.origin();
  for (int pages = 0;; ++pages) {
    Response response;
    SLUICE_ASSIGN(const Json entries, get_json(connection, page, &response));
    if (!entries.is_array() || pages == kMostPages)
      return fail(ErrorKind::kBadFile, "{}: the answer is no list of files: check HF_ENDPOINT",
                  page.display());
    for (const Json& entry : entries) {
      if (!entry.is_object() || text_at(entry, "type") != "file") continue;
      if (!is_gguf_name(text_at(entry, "path"))) continue;
      SLUICE_ASSIGN(RepoFile file, read_entry(entry, page));
      SLUICE_TRY(check_file(file));
      listing.files.push_back(std::move(file));
    }
    const std::string next = next_page(response.header("link"));
    if (next.empty()) return listing;
    SLUICE_ASSIGN(page, page.resolve(next));
    if (page.origin() != origin) {
      // Mirrors pass on what the hub wrote: its own address.
      const std::string query = page.text().substr(page.origin().size());
      SLUICE_ASSIGN(page, Url::parse(origin + query));
    }
  }
}

}  // namespace sluice::hub
