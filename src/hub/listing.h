// SPDX-License-Identifier: Apache-2.0
// What a repository of the hub holds.
#pragma once

#include <string>
#include <vector>

#include "hub/http.h"
#include "hub/model_name.h"

namespace sluice::hub {

struct Listing {
  std::string commit;  // 40 hexadecimal digits
  std::vector<RepoFile> files;
};

// Asks the hub for the commit and the files of a revision. Beside the errors of
// Connection::get_text, kBadFile for answers that are not what they should be.
Result<Listing> list_files(Connection& connection, const std::string& endpoint,
                           const ModelName& name, const std::string& revision);

// Where the content of a file is asked for.
std::string file_address(const std::string& endpoint, const ModelName& name,
                         const std::string& revision, const std::string& path);

}  // namespace sluice::hub
