// SPDX-License-Identifier: Apache-2.0
// Small files that are remembered between runs. Each may be deleted at any time, and none is
// believed without a look.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice::storage {

// $XDG_CACHE_HOME/sluice, else ~/.cache/sluice; "" when neither is known. Need not exist yet.
// Source: XDG Base Directory Specification 0.8 (relative paths there are ignored).
std::string cache_folder();

// The whole file, which has at most `most` bytes: kTooLarge otherwise.
Result<std::string> read_small_file(const std::string& path, uint64_t most);

// Makes the folders, and replaces the file in one step: readers see the old or the new text.
Status replace_small_file(const std::string& path, const std::string& text);

}  // namespace sluice::storage
