// SPDX-License-Identifier: Apache-2.0
// Which pieces of a file that is being downloaded are on the disk, so that a killed download goes
// on. A text file beside the data: a line of JSON that says of which file, then a line for every
// run of pieces, added after their bytes were flushed. A last line without its end counts as not
// written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::hub {

struct JournalHead {
  std::string name;      // for people: what is being downloaded
  std::string identity;  // the content's: its hash, or what the server calls this version of it
  uint64_t size = 0;
  uint64_t piece = 0;  // bytes
  bool operator==(const JournalHead&) const = default;

  uint64_t pieces() const { return (size + piece - 1) / piece; }
};

// Pieces grow with the file: a few hundred of each, and few megabytes that a kill costs.
uint64_t piece_size(uint64_t file_bytes);

class Journal {
 public:
  // Takes the journal and locks it. One that is of other content, or damaged, starts anew.
  // kIo; kUsage when another process downloads this file.
  static Result<Journal> open(const std::string& path, const JournalHead& head);
  ~Journal();
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&&) = delete;

  // Whether each piece is on the disk.
  const std::vector<bool>& done() const { return done_; }
  // Their bytes have been flushed: from now on they are never asked for again.
  Status add(const std::vector<uint64_t>& pieces);
  // Nothing is done any more.
  Status clear();

 private:
  Journal(std::string path, int descriptor, JournalHead head)
      : path_(std::move(path)), descriptor_(descriptor), head_(std::move(head)) {}
  std::string path_;
  int descriptor_ = -1;
  JournalHead head_;
  std::vector<bool> done_;
};

// What a journal of an unfinished download says, for a list; nothing is locked or changed.
struct JournalSummary {
  JournalHead head;
  uint64_t bytes = 0;  // that are there
};
Result<JournalSummary> read_journal(const std::string& path);

}  // namespace sluice::hub
