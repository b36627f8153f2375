// SPDX-License-Identifier: Apache-2.0
// From what somebody calls a model to a file on the disk.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hub/cache.h"
#include "hub/download.h"
#include "hub/settings.h"
#include "storage/file.h"

namespace sluice::hub {

struct PullRequest {
  std::string model;  // OWNER/REPO[:TAG], or an address
  std::string file;   // path in the repository, instead of the tag
  std::string revision = "main";
  std::string output;  // of addresses: the file to write; "": in the folder of downloads
  std::string sha256;  // of addresses: what it must have
  int connections = 4;
  bool take_cached = false;  // what is here is taken without asking whether there is a newer one
  bool verify = false;       // hash what is here already
};

struct PullProgress {
  std::string file;
  size_t number = 0, count = 0;  // of the file, from 1
  uint64_t done = 0, total = 0;  // of all files together; total 0: unknown
  uint64_t resumed = 0;          // of `done`, not fetched now
  bool checking = false;
};

struct Pulled {
  std::string path;  // to give to -m
  std::string name;  // as list_cache() calls it
  uint64_t bytes = 0;
  uint64_t fetched = 0;  // of these, now
  std::string sha256;    // of a single file
  bool checked = false;  // every file against a promised hash, now or when it came
  std::string warning;   // the network did not answer, what is here is taken
};

using OnPull = std::function<void(const PullProgress&)>;

// Errors of the parts: model_name.h, listing.h, download.h. kNotFound offline for what is not here.
Result<Pulled> pull(const Settings& settings, const PullRequest& request,
                    const OnPull& on_progress);

// The same model's files where they lie, part 0 first, for reading headers: nothing is downloaded.
// Errors of RemoteFile::open beside those of pull().
Result<std::vector<std::unique_ptr<storage::Reader>>> open_remote(const Settings& settings,
                                                                  const PullRequest& request);

}  // namespace sluice::hub
