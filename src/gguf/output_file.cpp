// SPDX-License-Identifier: Apache-2.0
#include "gguf/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace sluice::gguf {
namespace {

constexpr size_t kGatheredBytes = 1 << 20;

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path) {
  // The rename at the end would replace a device or a pipe, for everyone.
  struct stat there {};
  if (::stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode))
    return fail(ErrorKind::kUsage, "{}: is there and not a regular file: choose another name",
                path);
  OutputFile file;
  file.path_ = path;
  const std::string part_path = path + ".part";
  do {
    file.descriptor_ = ::open(part_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  } while (file.descriptor_ < 0 && errno == EINTR);
  if (file.descriptor_ < 0) return file.error("cannot create " + part_path, errno);
  file.part_path_ = part_path;
  return file;
}

OutputFile::~OutputFile() {
  discard();
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      part_path_(std::exchange(other.part_path_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      written_(other.written_),
      pending_(std::move(other.pending_)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this != &other) {
    discard();
    path_ = std::move(other.path_);
    part_path_ = std::exchange(other.part_path_, {});
    descriptor_ = std::exchange(other.descriptor_, -1);
    written_ = other.written_;
    pending_ = std::move(other.pending_);
  }
  return *this;
}

void OutputFile::discard() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  if (!part_path_.empty()) ::unlink(part_path_.c_str());
  part_path_.clear();
}

Status OutputFile::append(std::span<const uint8_t> bytes) {
  if (pending_.size() + bytes.size() > kGatheredBytes) SLUICE_TRY(flush());
  if (bytes.size() > kGatheredBytes / 2) {
    SLUICE_TRY(flush());
    return write_all(bytes);
  }
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  return {};
}

Status OutputFile::commit() {
  SLUICE_TRY(flush());
  // Some file systems report a full disk only here.
  if (::close(std::exchange(descriptor_, -1)) != 0) return error("cannot close the file", errno);
  if (std::rename(part_path_.c_str(), path_.c_str()) != 0) {
    return error("cannot rename " + part_path_ + " to it", errno);
  }
  part_path_.clear();
  return {};
}

Status OutputFile::flush() {
  Status status = write_all(pending_);
  pending_.clear();
  return status;
}

Status OutputFile::write_all(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const size_t piece = std::min(bytes.size(), size_t{1} << 30);
    const ssize_t put = ::write(descriptor_, bytes.data(), piece);
    if (put < 0) {
      if (errno == EINTR) continue;
      return error(fmt::format("cannot write after byte {}", written_), errno);
    }
    written_ += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

tl::unexpected<Error> OutputFile::error(std::string_view action, int code) const {
  const std::string_view remedy =
      code == ENOSPC || code == EDQUOT ? ": free some space or choose another disk" : "";
  return fail(ErrorKind::kIo, "{}: {}: {}{}", path_, action,
              std::error_code(code, std::generic_category()).message(), remedy);
}

}  // namespace sluice::gguf
