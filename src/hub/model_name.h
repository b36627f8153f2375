// SPDX-License-Identifier: Apache-2.0
// Names of models, and which files of a repository they mean. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::hub {

// "owner/repo" or "owner/repo:TAG", where the tag is the quantisation ("Q4_K_M").
struct ModelName {
  std::string owner, repo, tag;

  std::string id() const { return owner + "/" + repo; }
  std::string text() const { return tag.empty() ? id() : id() + ":" + tag; }
  // kUsage: not a name, or one that could leave its folder.
  static Result<ModelName> parse(const std::string& text);
};

// A file as the hub lists it. What a listing says is not believed: see check_file.
struct RepoFile {
  std::string path;  // in the repository
  uint64_t size = 0;
  std::string blob;    // name in the cache: the SHA-256, or what git calls a small file
  std::string sha256;  // "" for small files
};

// kBadFile for paths that could leave their folder, and for hashes that are none.
Status check_file(const RepoFile& file);
// Forty hexadecimal digits.
bool is_commit(std::string_view text);
// A path that ends in .gguf, in any case.
bool is_gguf_name(std::string_view path);
// A branch, tag or commit that may stand in a path.
bool is_revision(std::string_view text);

// "Q4_K_M" of "Q4_K_M/Model-Q4_K_M-00001-of-00002.gguf"; "" when the name tells none.
std::string quantisation_of(std::string_view path);

// The files of one model, its parts in order. `file`, a path in the repository, wins over the
// tag; without both it is Q4_K_M, or the only one. kNotFound lists what is there, kBadFile for
// missing parts.
Result<std::vector<RepoFile>> choose_files(const std::vector<RepoFile>& all, const ModelName& name,
                                           const std::string& file);

}  // namespace sluice::hub
