// SPDX-License-Identifier: Apache-2.0
#include "storage/read_queue.h"

#include <utility>

#include "storage/pread_queue.h"
#include "storage/read_files.h"
#include "storage/uring_queue.h"

namespace sluice::storage {

Result<std::unique_ptr<ReadQueue>> open_read_queue(const std::vector<std::string>& paths,
                                                   const ReadQueueOptions& options) {
  if (options.depth < 1 || options.depth > kMaxDepth) {
    return fail(ErrorKind::kUsage, "a queue of {} reads: give 1 to {}", options.depth, kMaxDepth);
  }
  SLUICE_ASSIGN(ReadFiles files, ReadFiles::open(paths, options.mode));
  if (options.engine != ReadEngine::kPread) {
    auto queue = make_uring_queue(files, options.depth);
    if (queue || options.engine == ReadEngine::kIoUring) return queue;
  }
  return make_pread_queue(std::move(files), options.depth);
}

}  // namespace sluice::storage
