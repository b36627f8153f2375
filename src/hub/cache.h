// SPDX-License-Identifier: Apache-2.0
// The folder that the hub's own programs share: models--OWNER--REPO/ with blobs/HASH,
// snapshots/COMMIT/ PATH (links to blobs) and refs/BRANCH (a commit). Beside it our folder of plain
// downloads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "hub/model_name.h"
#include "hub/settings.h"

namespace sluice::hub {

class RepoCache {
 public:
  RepoCache(const std::string& cache, const ModelName& name);

  std::string blob_path(const RepoFile& file) const;
  std::string snapshot_path(const std::string& commit, const std::string& path) const;
  // Makes the name in the snapshot stand for the blob; where links cannot be, the blob moves there.
  Status link(const std::string& commit, const RepoFile& file) const;
  // refs/REVISION says COMMIT. A revision that is a commit needs none.
  Status write_ref(const std::string& revision, const std::string& commit) const;
  // The commit of a revision, as remembered; "" when nothing is known.
  std::string read_ref(const std::string& revision) const;
  // GGUF files of a commit that are here, whole.
  std::vector<RepoFile> files(const std::string& commit) const;

  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

// A plain address's file, and what is remembered of it beside it.
struct Source {
  std::string url, etag, sha256;
  uint64_t size = 0;
};
// Where its file goes, "" for an address whose path ends in '/'.
std::string download_path(const std::string& downloads, const Url& url);
Status write_source(const std::string& path, const Source& source);
Result<Source> read_source(const std::string& path);

// What is in the two folders: one entry for a model, whatever its parts.
struct CachedModel {
  std::string name;                  // as `pull` and `rm` take it
  std::string path;                  // to give to -m; "" when incomplete
  std::string commit;                // "" of plain downloads and incomplete ones
  uint64_t bytes = 0;                // of the whole file
  uint64_t here = 0;                 // of these, on the disk
  std::vector<std::string> entries;  // links, or files without one
  std::vector<std::string> blobs;    // that they stand for
  std::string repo_folder;           // "" of plain downloads
  bool complete() const { return here == bytes && !path.empty(); }
};
// Sorted by name. Folders that do not exist hold nothing; kIo for those that cannot be read.
Result<std::vector<CachedModel>> list_cache(const Settings& settings);

// Removes an entry of list_cache(): its names, and its blobs unless another snapshot has them.
// Returns the bytes that are free now. kUsage while it is being downloaded.
Result<uint64_t> remove_cached(const CachedModel& model);

}  // namespace sluice::hub
