// SPDX-License-Identifier: Apache-2.0
#include "hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "gguf/split.h"
#include "hub/download.h"
#include "hub/journal.h"
#include "storage/cache_folder.h"

namespace sluice::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSource = ".sluice.json";

tl::unexpected<Error> failed(const std::string& path, const char* what,
                             const std::error_code& error) {
  return fail(ErrorKind::kIo, "{}: cannot {}: {}", path, what, error.message());
}

// Every file below `folder`; what cannot be read is left out.
std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error))
    if (std::error_code ignored; !it->is_directory(ignored)) out.push_back(it->path());
  std::sort(out.begin(), out.end());
  return out;
}

void remove_empty_folders(fs::path folder, const fs::path& up_to) {
  std::error_code error;
  while (folder != up_to && folder.string().size() > up_to.string().size() &&
         fs::is_empty(folder, error) && !error && fs::remove(folder, error))
    folder = folder.parent_path();
}

// "OWNER/REPO" of "models--OWNER--REPO".
std::string repo_of(const std::string& folder) {
  constexpr std::string_view kPrefix = "models--";
  if (!folder.starts_with(kPrefix)) return "";
  const std::string name = folder.substr(kPrefix.size());
  const size_t dashes = name.find("--");
  if (dashes == std::string::npos) return "";
  return name.substr(0, dashes) + "/" + name.substr(dashes + 2);
}

std::string model_name(const std::string& repo, const std::string& path) {
  const std::string tag = quantisation_of(path);
  return tag.empty() ? repo + " " + path : repo + ":" + tag;
}

// The name of a split model's first part stands for all.
std::string first_part(const std::string& path) {
  const auto split = gguf::parse_split_name(path);
  return split ? gguf::split_path(split->prefix, 1, split->count) : path;
}

void list_repo(const fs::path& folder, const std::string& repo, std::vector<CachedModel>& out) {
  std::map<std::string, CachedModel> models;  // by commit and first part
  std::map<std::string, uint64_t> parts;
  for (const fs::path& file : files_below(folder / "snapshots")) {
    if (!is_gguf_name(file.native())) continue;
    std::error_code error;
    const fs::path target = fs::weakly_canonical(file, error);
    const uint64_t size = error ? 0 : fs::file_size(target, error);
    if (error) continue;  // a link to nothing
    // By its name: fs::relative() would follow the link.
    const std::string inside = file.lexically_relative(folder / "snapshots").string();
    const size_t slash = inside.find('/');
    if (slash == std::string::npos) continue;
    const std::string path = inside.substr(slash + 1);
    CachedModel& model = models[inside.substr(0, slash) + "/" + first_part(path)];
    model.name = model_name(repo, first_part(path));
    model.commit = inside.substr(0, slash);
    model.repo_folder = folder.string();
    model.bytes += size;
    model.here += size;
    model.entries.push_back(file.string());
    if (target != file) model.blobs.push_back(target.string());
    ++parts[inside.substr(0, slash) + "/" + first_part(path)];
  }
  for (auto& [key, model] : models) {
    const auto split = gguf::parse_split_name(key);
    if (split && parts[key] < split->count) {
      model.bytes = std::max(model.bytes, model.here + 1);  // at least: parts are missing
    } else {
      model.path = (folder / "snapshots" / key).string();
    }
    out.push_back(std::move(model));
  }
}

// What is being downloaded, or was when it was ended.
void list_unfinished(const fs::path& folder, const std::string& repo,
                     std::vector<CachedModel>& out) {
  for (const fs::path& file : files_below(folder)) {
    const std::string path = file.string();
    if (!path.ends_with(kJournal)) continue;
    const auto journal = read_journal(path);
    if (!journal) continue;
    CachedModel model;
    const std::string& name = journal->head.name;
    const size_t blank = name.find(' ');
    model.name = repo.empty() || blank == std::string::npos
                     ? name
                     : model_name(repo, name.substr(blank + 1));
    model.bytes = journal->head.size;
    model.here = std::min(journal->bytes, journal->head.size);
    const std::string whole = path.substr(0, path.size() - std::strlen(kJournal));
    model.entries = {whole + kIncomplete, path};
    if (!repo.empty()) model.repo_folder = folder.parent_path().string();
    out.push_back(std::move(model));
  }
}

// Holds the lock that a download holds.
class JournalLock {
 public:
  explicit JournalLock(const std::string& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    taken_ = descriptor_ < 0 || ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
  }
  ~JournalLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  JournalLock(const JournalLock&) = delete;
  JournalLock& operator=(const JournalLock&) = delete;
  bool taken() const { return taken_; }

 private:
  int descriptor_;
  bool taken_ = false;
};

}  // namespace

RepoCache::RepoCache(const std::string& cache, const ModelName& name)
    : folder_(cache + "/models--" + name.owner + "--" + name.repo) {}

std::string RepoCache::blob_path(const RepoFile& file) const {
  return folder_ + "/blobs/" + file.blob;
}

std::string RepoCache::snapshot_path(const std::string& commit, const std::string& path) const {
  return folder_ + "/snapshots/" + commit + "/" + path;
}

Status RepoCache::link(const std::string& commit, const RepoFile& file) const {
  const std::string path = snapshot_path(commit, file.path);
  const std::string blob = blob_path(file);
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) return failed(path, "make its folder", error);
  if (fs::equivalent(path, blob, error)) return {};
  const std::string fresh = path + ".sluice.link";
  fs::remove(fresh, error);
  const fs::path target = fs::relative(blob, fs::path(path).parent_path(), error);
  if (!error) fs::create_symlink(target, fresh, error);
  if (!error) {
    fs::rename(fresh, path, error);
    if (error) return failed(path, "put the link there", error);
    return {};
  }
  fs::rename(blob, path, error);
  if (error) return failed(path, "put the file there", error);
  return {};
}

Status RepoCache::write_ref(const std::string& revision, const std::string& commit) const {
  if (is_commit(revision)) return {};
  return storage::replace_small_file(folder_ + "/refs/" + revision, commit);
}

std::string RepoCache::read_ref(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  auto text = storage::read_small_file(folder_ + "/refs/" + revision, 100);
  if (!text) return "";
  while (!text->empty() && static_cast<unsigned char>(text->back()) <= ' ') text->pop_back();
  return is_commit(*text) ? *text : "";
}

std::vector<RepoFile> RepoCache::files(const std::string& commit) const {
  const fs::path snapshot = folder_ + "/snapshots/" + commit;
  std::vector<RepoFile> out;
  for (const fs::path& file : files_below(snapshot)) {
    std::error_code error;
    const uint64_t size = fs::file_size(file, error);
    if (error || !is_gguf_name(file.native())) continue;
    out.push_back({file.lexically_relative(snapshot).string(), size, "", ""});
  }
  return out;
}

std::string download_path(const std::string& downloads, const Url& url) {
  if (url.path().ends_with('/')) return "";
  const size_t scheme = url.origin().find("://");
  std::string host = url.origin().substr(scheme + 3);
  std::replace(host.begin(), host.end(), ':', '_');
  // Still percent-encoded: no name in it can leave the folder, as dots have been resolved.
  for (const auto& part : fs::path(url.path()))
    if (part == "." || part == ".." || part.string().size() > 200) return "";
  return downloads + "/" + host + url.path();
}

Status write_source(const std::string& path, const Source& source) {
  const nlohmann::ordered_json json = {
      {"url", source.url}, {"etag", source.etag}, {"sha256", source.sha256}, {"size", source.size}};
  return storage::replace_small_file(
      path + kSource, json.dump(1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n");
}

Result<Source> read_source(const std::string& path) {
  SLUICE_ASSIGN(const std::string text, storage::read_small_file(path + kSource, 64 << 10));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  Source source;
  const auto take = [&](const char* key, std::string& to) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) return false;
    to = found->get<std::string>();
    return true;
  };
  if (!json.is_object() || !take("url", source.url) || !take("etag", source.etag) ||
      !take("sha256", source.sha256) || !json.contains("size") ||
      !json["size"].is_number_unsigned())
    return fail(ErrorKind::kBadFile, "{}{}: is damaged: delete it", path, kSource);
  source.size = json["size"].get<uint64_t>();
  return source;
}

Result<std::vector<CachedModel>> list_cache(const Settings& settings) {
  std::vector<CachedModel> out;
  std::error_code error;
  if (!settings.cache.empty() && fs::exists(settings.cache, error)) {
    fs::directory_iterator it(settings.cache, error);
    for (; !error && it != fs::directory_iterator(); it.increment(error)) {
      const std::string repo = repo_of(it->path().filename().string());
      if (repo.empty()) continue;
      list_repo(it->path(), repo, out);
      list_unfinished(it->path() / "blobs", repo, out);
    }
    if (error) return failed(settings.cache, "read the folder", error);
  }
  if (!settings.downloads.empty()) {
    for (const fs::path& file : files_below(settings.downloads)) {
      if (!is_gguf_name(file.native())) continue;
      const auto source = read_source(file.string());
      std::error_code unread;
      const uint64_t size = fs::file_size(file, unread);
      if (!source || unread) continue;
      CachedModel model;
      model.name = source->url;
      model.path = file.string();
      model.bytes = source->size;
      model.here = size;
      model.entries = {file.string(), file.string() + kSource};
      out.push_back(std::move(model));
    }
    list_unfinished(settings.downloads, "", out);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const CachedModel& a, const CachedModel& b) { return a.name < b.name; });
  return out;
}

Result<uint64_t> remove_cached(const CachedModel& model) {
  std::vector<std::string> doomed = model.entries;
  std::unique_ptr<JournalLock> lock;
  for (const std::string& entry : model.entries) {
    if (!entry.ends_with(kJournal)) continue;
    lock = std::make_unique<JournalLock>(entry);
    if (!lock->taken())
      return fail(ErrorKind::kUsage, "{} is being downloaded: end that first", model.name);
  }
  std::error_code error;
  if (!model.repo_folder.empty()) {
    // Blobs that another name stands for stay.
    std::set<std::string> needed;
    const std::set<std::string> mine(model.entries.begin(), model.entries.end());
    for (const fs::path& file : files_below(fs::path(model.repo_folder) / "snapshots"))
      if (!mine.contains(file.string())) {
        const fs::path target = fs::weakly_canonical(file, error);
        if (!error) needed.insert(target.string());
      }
    for (const std::string& blob : model.blobs)
      if (!needed.contains(blob)) doomed.push_back(blob);
  }
  uint64_t freed = 0;
  for (const std::string& path : doomed) {
    const bool link = fs::is_symlink(path, error);
    const uint64_t size = link ? 0 : fs::file_size(path, error);
    const bool counted = !link && !error;
    fs::remove(path, error);
    if (error) return failed(path, "delete", error);
    if (counted) freed += size;
    const fs::path top = model.repo_folder.empty() ? fs::path("/") : fs::path(model.repo_folder);
    remove_empty_folders(fs::path(path).parent_path(), top);
  }
  if (!model.repo_folder.empty()) {
    const std::vector<fs::path> left = files_below(model.repo_folder);
    const bool only_refs = std::all_of(left.begin(), left.end(), [&](const fs::path& file) {
      return file.string().starts_with(model.repo_folder + "/refs/");
    });
    if (only_refs) fs::remove_all(model.repo_folder, error);
  }
  return freed;
}

}  // namespace sluice::hub
