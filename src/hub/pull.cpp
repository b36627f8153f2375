// SPDX-License-Identifier: Apache-2.0
#include "hub/pull.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "gguf/split.h"
#include "hub/listing.h"
#include "hub/remote_file.h"
#include "hub/sha256.h"

namespace sluice::hub {
namespace {

namespace fs = std::filesystem;

uint64_t size_of(const std::string& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

// The progress of one file becomes that of all.
class Progress {
 public:
  Progress(const OnPull& on_progress, size_t count, uint64_t total) : on_progress_(on_progress) {
    all_.count = count;
    all_.total = total;
  }
  void next(const std::string& file) {
    all_.file = file;
    ++all_.number;
  }
  std::function<void(const DownloadProgress&)> sink() {
    return [this](const DownloadProgress& one) {
      PullProgress now = all_;
      now.done += one.done;
      now.resumed += one.resumed;
      now.checking = one.checking;
      if (now.total == 0) now.total = one.total;
      on_progress_(now);
    };
  }
  void finished(uint64_t bytes, uint64_t fetched) {
    all_.done += bytes;
    all_.resumed += bytes - std::min(bytes, fetched);
  }

 private:
  const OnPull& on_progress_;
  PullProgress all_;
};

class HubPull {
 public:
  HubPull(const Settings& settings, const PullRequest& request, ModelName name,
          const OnPull& on_progress)
      : settings_(settings),
        request_(request),
        name_(std::move(name)),
        on_progress_(on_progress),
        repo_(settings.cache, name_) {}

  Result<Pulled> run() {
    if (settings_.cache.empty())
      return fail(ErrorKind::kUsage, "no folder for models: set HF_HUB_CACHE or HOME");
    if (!is_revision(request_.revision))
      return fail(ErrorKind::kUsage, "\"{}\" is no revision: give a branch, a tag or a commit",
                  request_.revision);
    const bool exact = !name_.tag.empty() || !request_.file.empty();
    if (settings_.offline || request_.take_cached) {
      Result<Pulled> here = from_cache(!settings_.offline && !exact);
      if (here || settings_.offline) return here;
    }
    Connection connection(settings_.http());
    const auto listing = list_files(connection, settings_.endpoint, name_, request_.revision);
    if (!listing) {
      // Without a network what is here will do.
      if (request_.take_cached && listing.error().kind == ErrorKind::kIo) {
        if (Result<Pulled> here = from_cache(false)) {
          here->warning =
              fmt::format("{} (taking {}, which is here)", listing.error().message, here->name);
          return here;
        }
      }
      return fail(listing.error());
    }
    SLUICE_ASSIGN(const std::vector<RepoFile> files,
                  choose_files(listing->files, name_, request_.file));
    return fetch(files, listing->commit);
  }

 private:
  // What a run took before. `preferred_only`: without a tag, nothing but what one would get from
  // the hub too.
  Result<Pulled> from_cache(bool preferred_only) {
    const std::string commit = repo_.read_ref(request_.revision);
    const auto absent = [&](const std::string& why) {
      return fail(ErrorKind::kNotFound,
                  "{}: {}, and there is no asking the hub offline: leave out "
                  "--offline and HF_HUB_OFFLINE",
                  name_.text(), why);
    };
    if (commit.empty()) return absent("is not here");
    ModelName name = name_;
    if (preferred_only) name.tag = "Q4_K_M";
    const auto files = choose_files(repo_.files(commit), name, request_.file);
    if (!files) return absent("is not among the files that are here");
    Pulled out;
    out.path = repo_.snapshot_path(commit, files->front().path);
    out.name = name_of(files->front());
    for (const RepoFile& file : *files) out.bytes += file.size;
    return out;
  }

  std::string name_of(const RepoFile& file) const {
    const std::string tag = quantisation_of(file.path);
    return tag.empty() ? name_.id() + " " + file.path : name_.id() + ":" + tag;
  }

  // Whole already? Blobs are named after their content, and got their name after the check.
  Result<bool> is_here(const RepoFile& file, const std::string& commit) {
    const std::string blob = repo_.blob_path(file);
    const std::string copy = repo_.snapshot_path(commit, file.path);
    const std::string path = size_of(blob) == file.size ? blob : copy;
    if (size_of(path) != file.size) return false;
    if (!request_.verify || file.sha256.empty()) return true;
    SLUICE_ASSIGN(const std::string sha256, hash_file(path, settings_.cancel));
    if (sha256 == file.sha256) return true;
    ::unlink(path.c_str());
    return false;
  }

  Result<Pulled> fetch(const std::vector<RepoFile>& files, const std::string& commit) {
    Pulled out;
    out.checked = true;
    std::vector<bool> here;
    uint64_t missing = 0;
    for (const RepoFile& file : files) {
      SLUICE_ASSIGN(const bool whole, is_here(file, commit));
      here.push_back(whole);
      out.bytes += file.size;
      // What an earlier try left holds its room already.
      if (!whole && size_of(repo_.blob_path(file) + kIncomplete) != file.size) missing += file.size;
    }
    if (missing > 0) {
      std::error_code error;
      fs::create_directories(repo_.folder() + "/blobs", error);
      if (error)
        return fail(ErrorKind::kIo,
                    "{}/blobs: cannot make the folder: {}: check its permissions, "
                    "or set HF_HUB_CACHE",
                    repo_.folder(), error.message());
      SLUICE_TRY(check_room(repo_.folder(), missing));
    }
    Progress progress(on_progress_, files.size(), out.bytes);
    for (size_t i = 0; i < files.size(); ++i) {
      const RepoFile& file = files[i];
      progress.next(file.path);
      uint64_t fetched = 0;
      if (!here[i]) {
        DownloadRequest request;
        request.url = file_address(settings_.endpoint, name_, commit, file.path);
        request.name = name_.id() + " " + file.path;
        request.path = repo_.blob_path(file);
        request.size = file.size;
        request.sha256 = file.sha256;
        request.connections = request_.connections;
        SLUICE_ASSIGN(const Downloaded done, download(settings_.http(), request, progress.sink()));
        fetched = done.fetched;
      }
      progress.finished(file.size, fetched);
      out.fetched += fetched;
      out.checked = out.checked && !file.sha256.empty();
      SLUICE_TRY(repo_.link(commit, file));
    }
    SLUICE_TRY(repo_.write_ref(request_.revision, commit));
    out.path = repo_.snapshot_path(commit, files.front().path);
    out.name = name_of(files.front());
    if (files.size() == 1) out.sha256 = files.front().sha256;
    return out;
  }

  const Settings& settings_;
  const PullRequest& request_;
  const ModelName name_;
  const OnPull& on_progress_;
  const RepoCache repo_;
};

// All parts when the address is that of one.
Result<std::vector<Url>> parts_of(const Url& url) {
  const auto split = gguf::parse_split_name(url.path());
  if (!split) return std::vector<Url>{url};
  if (split->count > gguf::Split::kMaxParts)
    return fail(ErrorKind::kUsage, "{}: too many parts", url.display());
  const std::string query = url.text().substr(url.text().find(url.path()) + url.path().size());
  std::vector<Url> parts;
  for (uint64_t number = 1; number <= split->count; ++number) {
    SLUICE_ASSIGN(
        Url part,
        Url::parse(url.origin() + gguf::split_path(split->prefix, number, split->count) + query));
    parts.push_back(std::move(part));
  }
  return parts;
}

class AddressPull {
 public:
  AddressPull(const Settings& settings, const PullRequest& request, const OnPull& on_progress)
      : settings_(settings), request_(request), on_progress_(on_progress) {}

  Result<Pulled> run(const Url& url) {
    SLUICE_ASSIGN(const std::vector<Url> parts, parts_of(url));
    if (parts.size() > 1 && !(request_.output.empty() && request_.sha256.empty()))
      return fail(ErrorKind::kUsage,
                  "{}: is one of {} parts: --output and --sha256 are for single files",
                  url.display(), parts.size());
    Pulled out;
    out.checked = true;
    Progress progress(on_progress_, parts.size(), 0);
    for (const Url& part : parts) {
      progress.next(part.path().substr(part.path().rfind('/') + 1));
      SLUICE_TRY(fetch(part, progress, out));
    }
    return out;
  }

 private:
  Status fetch(const Url& url, Progress& progress, Pulled& out) {
    std::string path = request_.output;
    if (path.empty()) {
      if (settings_.downloads.empty())
        return fail(ErrorKind::kUsage, "no folder for downloads: set HOME, or give --output");
      path = download_path(settings_.downloads, url);
      if (path.empty())
        return fail(ErrorKind::kUsage, "{}: names no file: give the address of a .gguf file",
                    url.display());
    }
    if (std::error_code ignored; fs::is_directory(path, ignored))
      return fail(ErrorKind::kUsage, "{}: is a folder: give the file to write", path);
    if (out.path.empty()) {
      out.path = path;
      out.name = url.display();
    }
    auto known = read_source(path);
    const bool here = known && size_of(path) == known->size && known->size > 0;
    if (!here && settings_.offline)
      return fail(ErrorKind::kNotFound,
                  "{}: is not here, and there is no asking offline: leave "
                  "out --offline and HF_HUB_OFFLINE",
                  url.display());
    if (here && (request_.take_cached || settings_.offline || unchanged(url, path, *known))) {
      progress.finished(known->size, 0);
      out.bytes += known->size;
      out.sha256 = known->sha256;
      out.checked = false;
      return {};
    }
    DownloadRequest request;
    request.url = url.text();
    request.name = url.display();
    request.path = path;
    request.sha256 = request_.sha256;
    request.connections = request_.connections;
    SLUICE_ASSIGN(const Downloaded done, download(settings_.http(), request, progress.sink()));
    progress.finished(done.bytes, done.fetched);
    out.bytes += done.bytes;
    out.fetched += done.fetched;
    out.sha256 = done.sha256;
    out.checked = out.checked && done.checked;
    return write_source(path, {url.display(), done.etag, done.sha256, done.bytes});
  }

  // What the server has is what is here. Whatever goes wrong is for the download to say.
  bool unchanged(const Url& url, const std::string& path, const Source& known) {
    if (!request_.sha256.empty() && request_.sha256 != known.sha256) return false;
    Connection connection(settings_.http());
    const auto info = look_at(connection, url, path);
    const bool same =
        info && info->size == known.size && !info->etag.empty() && info->etag == known.etag;
    if (!same || !request_.verify) return same;
    const auto sha256 = hash_file(path, settings_.cancel);
    return sha256 && *sha256 == known.sha256;
  }

  const Settings& settings_;
  const PullRequest& request_;
  const OnPull& on_progress_;
};

// An address of a file in a repository of the hub: it belongs to the shared cache.
std::optional<PullRequest> as_repository(const Settings& settings, const PullRequest& request,
                                         const Url& url) {
  const auto endpoint = Url::parse(settings.endpoint);
  if (!endpoint || url.origin() != endpoint->origin() || !request.output.empty()) return {};
  std::string prefix = endpoint->path();
  while (prefix.ends_with('/')) prefix.pop_back();
  if (!url.path().starts_with(prefix + "/")) return {};
  std::vector<std::string> parts;
  const std::string path = url.path().substr(prefix.size() + 1);
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end =
        parts.size() < 4 ? std::min(path.find('/', begin), path.size()) : path.size();
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  if (parts.size() != 5 || (parts[2] != "resolve" && parts[2] != "blob")) return {};
  if (!ModelName::parse(parts[0] + "/" + parts[1])) return {};
  PullRequest out = request;
  out.model = parts[0] + "/" + parts[1];
  out.revision = unescape_path(parts[3]);
  out.file = unescape_path(parts[4]);
  if (out.file.empty() || !is_revision(out.revision)) return {};
  return out;
}

Result<std::vector<std::string>> addresses_of(const Settings& settings, PullRequest request) {
  if (is_address(request.model)) {
    SLUICE_ASSIGN(const Url url, Url::parse(request.model));
    if (const auto repository = as_repository(settings, request, url)) {
      request = *repository;
    } else {
      SLUICE_ASSIGN(const std::vector<Url> parts, parts_of(url));
      std::vector<std::string> out;
      for (const Url& part : parts) out.push_back(part.text());
      return out;
    }
  }
  SLUICE_ASSIGN(const ModelName name, ModelName::parse(request.model));
  if (!is_revision(request.revision))
    return fail(ErrorKind::kUsage, "\"{}\" is no revision: give a branch, a tag or a commit",
                request.revision);
  if (settings.offline)
    return fail(ErrorKind::kNotFound,
                "{}: there is no asking the hub offline: leave out --offline "
                "and HF_HUB_OFFLINE",
                name.text());
  Connection connection(settings.http());
  SLUICE_ASSIGN(const Listing listing,
                list_files(connection, settings.endpoint, name, request.revision));
  SLUICE_ASSIGN(const std::vector<RepoFile> files, choose_files(listing.files, name, request.file));
  std::vector<std::string> out;
  for (const RepoFile& file : files)
    out.push_back(file_address(settings.endpoint, name, listing.commit, file.path));
  return out;
}

Result<Pulled> pull_any(const Settings& settings, const PullRequest& request,
                        const OnPull& on_progress) {
  if (!request.sha256.empty() && !is_sha256(request.sha256))
    return fail(ErrorKind::kUsage, "--sha256 {}: must be 64 hexadecimal digits in lower case",
                request.sha256);
  if (is_address(request.model)) {
    SLUICE_ASSIGN(const Url url, Url::parse(request.model));
    const auto repository = as_repository(settings, request, url);
    if (!repository || !request.sha256.empty())
      return AddressPull(settings, request, on_progress).run(url);
    SLUICE_ASSIGN(ModelName name, ModelName::parse(repository->model));
    return HubPull(settings, *repository, std::move(name), on_progress).run();
  }
  if (!request.output.empty() || !request.sha256.empty())
    return fail(ErrorKind::kUsage,
                "--output and --sha256 are for addresses: the hub's files go to its shared folder "
                "and have a known hash");
  SLUICE_ASSIGN(ModelName name, ModelName::parse(request.model));
  return HubPull(settings, request, std::move(name), on_progress).run();
}

}  // namespace

Result<Pulled> pull(const Settings& settings, const PullRequest& request,
                    const OnPull& on_progress) {
  // The file system library throws where a name cannot be.
  try {
    return pull_any(settings, request, on_progress);
  } catch (const fs::filesystem_error& error) {
    return fail(ErrorKind::kIo, "{}", error.what());
  }
}

Result<std::vector<std::unique_ptr<storage::Reader>>> open_remote(const Settings& settings,
                                                                  const PullRequest& request) {
  SLUICE_ASSIGN(const std::vector<std::string> addresses, addresses_of(settings, request));
  std::vector<std::unique_ptr<storage::Reader>> out;
  for (const std::string& address : addresses) {
    SLUICE_ASSIGN(std::unique_ptr<RemoteFile> file, RemoteFile::open(settings.http(), address));
    out.push_back(std::move(file));
  }
  return out;
}

}  // namespace sluice::hub
