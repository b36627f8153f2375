// SPDX-License-Identifier: Apache-2.0
// What the read queues share: the open files, how a read goes on after what the system answered,
// and the messages.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/file.h"
#include "storage/read_queue.h"

namespace sluice::storage {

// One read under way. The system may answer with fewer bytes than asked; the rest is then asked
// for again, in direct mode from the last aligned byte before what is missing.
struct ReadProgress {
  enum class Step {
    kAgain,   // ask for the rest
    kDone,    // the needed bytes are there
    kEnd,     // the file ends before them
    kFailed,  // the system refused
  };

  // `answer`: bytes read by the last request, or minus errno.
  Step advance(int64_t answer, uint32_t alignment);

  // The next request.
  uint64_t offset() const { return read.offset + from; }
  uint32_t bytes() const { return read.bytes - from; }
  uint8_t* to() const { return read.to + from; }
  // Where the file was seen to end, after kEnd.
  uint64_t end() const { return read.offset + done; }

  Read read;
  uint32_t done = 0;  // bytes at the start of the read that are there
  uint32_t from = 0;  // where the next request starts: `done` rounded down
  int refused = 0;    // answers "try again" in a row
};

// Errors of reads, the same for every queue. `size`: the file's bytes when it was opened.
Status read_refused(const std::string& path, uint64_t offset, uint32_t bytes, int error);
Status file_ended(const std::string& path, uint64_t size, uint64_t end);

class ReadFiles {
 public:
  static Result<ReadFiles> open(const std::vector<std::string>& paths, ReadMode mode);

  bool direct() const { return direct_; }
  uint32_t alignment() const { return alignment_; }
  int descriptor(int file) const { return files_[file].file.descriptor(); }

  // A misaligned read is a defect of the caller and stops the program. An error: the file never had
  // these bytes.
  Status check(const Read& read) const;
  // The read's outcome, once advance() has not answered kAgain. Also looks whether the file is
  // still the one that was opened: `answer` is good only for bytes that belong together.
  Status outcome(const ReadProgress& progress, ReadProgress::Step step, int64_t answer) const;

 private:
  struct Entry {
    File file;
    struct timespec written = {};  // the last write, when it was opened
  };

  std::vector<Entry> files_;
  bool direct_ = false;
  uint32_t alignment_ = 1;
};

}  // namespace sluice::storage
