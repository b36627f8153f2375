// SPDX-License-Identifier: Apache-2.0
// Reads by a pool of threads, one read each: where io_uring is missing or forbidden.
#pragma once

#include <memory>

#include "base/result.h"
#include "storage/read_files.h"
#include "storage/read_queue.h"

namespace sluice::storage {

// At most kMaxReaders threads; depth() is their number. kIo when no thread can be started.
inline constexpr int kMaxReaders = 64;
Result<std::unique_ptr<ReadQueue>> make_pread_queue(ReadFiles files, int depth);

}  // namespace sluice::storage
