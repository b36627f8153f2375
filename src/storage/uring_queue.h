// SPDX-License-Identifier: Apache-2.0
// Reads through io_uring.
#pragma once

#include <memory>

#include "base/result.h"
#include "storage/read_files.h"
#include "storage/read_queue.h"

namespace sluice::storage {

// kUnsupported where the system has no io_uring or forbids it; `files` is then left as it was.
Result<std::unique_ptr<ReadQueue>> make_uring_queue(ReadFiles& files, int depth);

}  // namespace sluice::storage
