// SPDX-License-Identifier: Apache-2.0
#include "storage/read_files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

#include "base/aligned_buffer.h"
#include "base/check.h"

namespace sluice::storage {
namespace {

constexpr uint32_t kUsualAlignment = 4096;
// Answers "try again" that are believed before they count as an error.
constexpr int kPatience = 100;

// What direct reads of the file must be aligned to; 0: it has none.
uint32_t direct_alignment(int descriptor) {
  struct statfs system = {};
  // Files in memory: newer kernels accept O_DIRECT there, but nothing is behind the page cache.
  if (::fstatfs(descriptor, &system) == 0 &&
      (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC)) {
    return 0;
  }
#ifdef STATX_DIOALIGN
  struct statx status = {};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN) != 0) {
    const uint32_t alignment = std::max(status.stx_dio_mem_align, status.stx_dio_offset_align);
    const bool usable = status.stx_dio_offset_align != 0 && std::has_single_bit(alignment) &&
                        alignment <= kMaxAlignment;
    return usable ? alignment : 0;
  }
#endif
  return kUsualAlignment;
}

// Turns O_DIRECT on or off for an open file. False: refused.
bool set_direct(int descriptor, bool direct) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0) return false;
  // O_NONBLOCK was for opening; io_uring would take it as a wish not to wait for the disk.
  const int wanted = (flags & ~(O_NONBLOCK | O_DIRECT)) | (direct ? O_DIRECT : 0);
  return ::fcntl(descriptor, F_SETFL, wanted) == 0;
}

// Some file systems accept O_DIRECT and refuse the reads.
bool direct_read_works(int descriptor, uint32_t alignment) {
  AlignedBuffer block = AlignedBuffer::allocate(alignment);
  if (!block) return false;
  ssize_t got;
  do {
    got = ::pread(descriptor, block.data(), alignment, 0);
  } while (got < 0 && errno == EINTR);
  return got >= 0 || (errno != EINVAL && errno != EOPNOTSUPP);
}

}  // namespace

ReadProgress::Step ReadProgress::advance(int64_t answer, uint32_t alignment) {
  if (answer == -EINTR || answer == -EAGAIN) {
    return ++refused < kPatience ? Step::kAgain : Step::kFailed;
  }
  if (answer < 0) return Step::kFailed;
  refused = 0;
  const uint64_t arrived = from + static_cast<uint64_t>(answer);
  // No byte more than the last request had already: only the file's end does that.
  if (arrived <= done) return Step::kEnd;
  done = static_cast<uint32_t>(arrived);
  if (done >= read.needed) return Step::kDone;
  from = done & ~(alignment - 1);
  return Step::kAgain;
}

Status read_refused(const std::string& path, uint64_t offset, uint32_t bytes, int error) {
  return fail(ErrorKind::kIo, "{}: cannot read {} bytes at byte {}: {}: check the disk", path,
              bytes, offset, std::error_code(error, std::generic_category()).message());
}

Status file_ended(const std::string& path, uint64_t size, uint64_t end) {
  return fail(ErrorKind::kBadFile,
              "{}: the file ends at byte {} and had {} bytes when it was opened: it was truncated "
              "while it was read, restore it and start again",
              path, end, size);
}

Result<ReadFiles> ReadFiles::open(const std::vector<std::string>& paths, ReadMode mode) {
  ReadFiles files;
  files.direct_ = mode != ReadMode::kBuffered;
  for (const std::string& path : paths) {
    SLUICE_ASSIGN(File file, File::open(path));
    struct stat status = {};
    if (::fstat(file.descriptor(), &status) != 0) {
      return fail(ErrorKind::kIo, "{}: cannot read the file's state: {}", path,
                  std::error_code(errno, std::generic_category()).message());
    }
    if (files.direct_) {
      const uint32_t alignment = direct_alignment(file.descriptor());
      if (alignment != 0 && set_direct(file.descriptor(), true) &&
          direct_read_works(file.descriptor(), alignment)) {
        files.alignment_ = std::max(files.alignment_, alignment);
      } else if (mode == ReadMode::kDirect) {
        return fail(ErrorKind::kUnsupported,
                    "{}: its file system has no direct reads (O_DIRECT): read it buffered, or "
                    "move it to a local disk",
                    path);
      } else {
        files.direct_ = false;
      }
    }
    files.files_.push_back({std::move(file), status.st_mtim});
  }
  if (files.files_.empty()) files.direct_ = false;
  if (!files.direct_) {
    files.alignment_ = 1;
    for (const Entry& entry : files.files_) set_direct(entry.file.descriptor(), false);
  }
  return files;
}

Status ReadFiles::check(const Read& read) const {
  SLUICE_CHECK(read.file >= 0 && static_cast<size_t>(read.file) < files_.size(), "unknown file");
  SLUICE_CHECK(read.needed >= 1 && read.needed <= read.bytes, "needed bytes within the read");
  const uint64_t mask = alignment_ - 1;
  SLUICE_CHECK(((read.offset | read.bytes | reinterpret_cast<uintptr_t>(read.to)) & mask) == 0,
               "offset, bytes and target of a read are aligned");
  const File& file = files_[read.file].file;
  if (read.offset > file.size() || read.needed > file.size() - read.offset) {
    return fail(ErrorKind::kBadFile,
                "{}: the file ends at byte {}, {} bytes are needed at byte {}: download it again",
                file.name(), file.size(), read.needed, read.offset);
  }
  return {};
}

Status ReadFiles::outcome(const ReadProgress& progress, ReadProgress::Step step,
                          int64_t answer) const {
  const Entry& entry = files_[progress.read.file];
  if (step == ReadProgress::Step::kFailed) {
    return read_refused(entry.file.name(), progress.offset(), progress.bytes(),
                        static_cast<int>(-answer));
  }
  if (step == ReadProgress::Step::kEnd) {
    return file_ended(entry.file.name(), entry.file.size(), progress.end());
  }
  struct stat now = {};
  if (::fstat(entry.file.descriptor(), &now) != 0) return {};  // the bytes did arrive
  if (static_cast<uint64_t>(now.st_size) < entry.file.size()) {
    return file_ended(entry.file.name(), entry.file.size(), static_cast<uint64_t>(now.st_size));
  }
  if (now.st_mtim.tv_sec != entry.written.tv_sec || now.st_mtim.tv_nsec != entry.written.tv_nsec) {
    return fail(ErrorKind::kBadFile,
                "{}: the file was written to while it was in use: its parts no longer belong "
                "together, start again with a file that stays as it is",
                entry.file.name());
  }
  return {};
}

}  // namespace sluice::storage
