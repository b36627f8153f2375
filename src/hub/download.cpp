// SPDX-License-Identifier: Apache-2.0
#include "hub/download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/size_text.h"
#include "hub/journal.h"
#include "hub/ranged_fetch.h"
#include "hub/remote_file.h"
#include "hub/sha256.h"
#include "storage/file.h"

namespace sluice::hub {
namespace {

using Clock = std::chrono::steady_clock;
using OnProgress = std::function<void(const DownloadProgress&)>;

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

tl::unexpected<Error> failed(const std::string& path, const char* what) {
  return fail(ErrorKind::kIo, "{}: cannot {}: {}", path, what, std::strerror(errno));
}

// One download: what its steps share.
class Download {
 public:
  Download(const HttpOptions& http, const DownloadRequest& request, Url url,
           const OnProgress& on_progress)
      : http_(http),
        request_(request),
        url_(std::move(url)),
        on_progress_(on_progress),
        data_path_(request.path + kIncomplete),
        journal_path_(request.path + kJournal) {}

  Result<Downloaded> run() {
    for (int attempt = 1;; ++attempt) {
      SLUICE_TRY(look());
      bool changed = false;
      Result<Downloaded> result = fetch(changed);
      if (!changed) return result;
      if (attempt == 2)
        return fail(ErrorKind::kBadFile,
                    "{}: the file changes while it is being downloaded: try again later",
                    url_.display());
      no_ranges_ = false;
    }
  }

 private:
  Status look() {
    Connection connection(http_);
    SLUICE_ASSIGN(info_, look_at(connection, url_, request_.name));
    if (request_.size && info_->size != 0 && *request_.size != info_->size)
      return fail(
          ErrorKind::kBadFile,
          "{}: has {} bytes where the hub lists {}: try again later, or another HF_ENDPOINT",
          url_.display(), info_->size, *request_.size);
    if (!request_.sha256.empty() && !info_->sha256.empty() && request_.sha256 != info_->sha256)
      return fail(
          ErrorKind::kBadFile,
          "{}: is another file (SHA-256 {}) than expected ({}): try again later, or another "
          "HF_ENDPOINT",
          url_.display(), info_->sha256, request_.sha256);
    if (!request_.sha256.empty()) info_->sha256 = request_.sha256;
    return {};
  }

  Result<Downloaded> fetch(bool& changed) {
    const uint64_t size = info_->size;
    JournalHead head{request_.name, info_->identity(), std::max<uint64_t>(size, 1),
                     piece_size(size)};
    SLUICE_ASSIGN(Journal journal, Journal::open(journal_path_, head));
    const Descriptor data(::open(data_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (data.get() < 0) return failed(data_path_, "open");
    SLUICE_TRY(prepare(data.get(), journal));

    Downloaded out;
    out.etag = info_->etag;
    if (info_->ranges && !no_ranges_) {
      const FetchEnd end = fetch_ranges(data.get(), journal, head.piece, out);
      if (end == FetchEnd::kChanged) {
        changed = true;
        return out;
      }
      if (end == FetchEnd::kFailed) return fail(std::move(error_));
      no_ranges_ = end == FetchEnd::kNoRanges;
    }
    if (!info_->ranges || no_ranges_) {
      SLUICE_TRY(journal.clear());  // its bytes will be overwritten
      SLUICE_TRY(fetch_whole(data.get(), out));
    }
    SLUICE_TRY(finish(data.get(), out));
    return out;
  }

  // The data file gets its size and its room on the disk.
  Status prepare(int descriptor, Journal& journal) {
    struct stat status = {};
    if (::fstat(descriptor, &status) != 0) return failed(data_path_, "look at");
    const auto size = static_cast<off_t>(info_->size);
    if (status.st_size == size && size > 0) return {};
    SLUICE_TRY(journal.clear());
    if (::ftruncate(descriptor, 0) != 0) return failed(data_path_, "empty");
    if (size == 0) return {};
    Status room = check_room(folder_of(data_path_), info_->size);
    if (room && ::fallocate(descriptor, 0, 0, size) != 0) {
      if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR) {
        if (::ftruncate(descriptor, size) != 0 && errno == EFBIG) room = too_large();
      } else if (errno == EFBIG) {
        room = too_large();
      } else if (errno == ENOSPC || errno == EDQUOT) {
        room = fail(ErrorKind::kTooLarge,
                    "{}: no room for {} (disk full, or your quota): free some, or use another "
                    "disk (HF_HUB_CACHE)",
                    folder_of(data_path_), size_text(info_->size));
      } else {
        room = failed(data_path_, "reserve room");
      }
    }
    if (!room) remove_both();  // nothing to go on from
    return room;
  }

  Status too_large() const {
    return fail(ErrorKind::kTooLarge,
                "{}: {} is larger than files may be here: raise the limit (ulimit -f), or "
                "use another file system",
                data_path_, size_text(info_->size));
  }

  FetchEnd fetch_ranges(int descriptor, Journal& journal, uint64_t piece, Downloaded& out) {
    DownloadProgress progress;
    progress.total = info_->size;
    for (size_t i = 0; i < journal.done().size(); ++i)
      if (journal.done()[i]) progress.resumed += std::min(piece, info_->size - i * piece);
    RangedFetch fetch({&http_, url_, *info_, descriptor, data_path_, connections(piece)}, journal,
                      piece);
    Status noted;
    for (bool ended = false; !ended;) {
      ended = fetch.wait();
      if (noted && !(noted = fetch.note())) fetch.stop();
      progress.done = progress.resumed + fetch.bytes();
      progress.checking = fetch.hashing();
      on_progress_(progress);
    }
    out.fetched = fetch.bytes();
    if (!noted) {
      error_ = std::move(noted.error());
      return FetchEnd::kFailed;
    }
    error_ = fetch.error();
    if (fetch.end() == FetchEnd::kWhole) out.sha256 = fetch.sha256();
    return fetch.end();
  }

  int connections(uint64_t piece) const {
    const uint64_t pieces = (info_->size + piece - 1) / piece;
    return static_cast<int>(
        std::clamp<uint64_t>(static_cast<uint64_t>(request_.connections), 1, pieces));
  }

  // From a server that gives whole files only: nothing can be resumed.
  Status fetch_whole(int descriptor, Downloaded& out) {
    Connection connection(http_);
    for (int attempt = 1;; ++attempt) {
      Sha256 sha;
      DownloadProgress progress;
      progress.total = info_->size;
      auto told = Clock::now();
      const auto sink = [&](std::span<const uint8_t> bytes) -> Status {
        SLUICE_TRY(write_at(descriptor, data_path_, progress.done, bytes));
        sha.add(bytes);
        progress.done += bytes.size();
        if (progress.total > 0 && progress.done > progress.total)
          return fail(ErrorKind::kBadFile,
                      "{}: the server sends more than the {} bytes it promised", url_.display(),
                      progress.total);
        if (Clock::now() - told < std::chrono::milliseconds(100)) return {};
        told = Clock::now();
        on_progress_(progress);
        return {};
      };
      Result<Response> response = connection.get(url_, std::nullopt, nullptr, sink);
      if (response && response->ok() && (info_->size == 0 || progress.done == info_->size)) {
        if (::ftruncate(descriptor, static_cast<off_t>(progress.done)) != 0)
          return failed(data_path_, "shorten");
        on_progress_(progress);
        out.fetched = progress.done;
        out.sha256 = sha.hex();
        return {};
      }
      const bool again = response ? response->ok() || response->transient()
                                  : response.error().kind == ErrorKind::kIo;
      if (again && attempt < kTries && rest(rest_before(attempt), http_.cancel, nullptr)) continue;
      if (!response) return fail(std::move(response.error()));
      SLUICE_TRY(check_answer(connection, url_, *response));
      return fail(ErrorKind::kBadFile,
                  "{}: the server promises {} bytes and sends {}: try another "
                  "address",
                  url_.display(), info_->size, progress.done);
    }
  }

  Status finish(int descriptor, Downloaded& out) {
    struct stat status = {};
    if (::fstat(descriptor, &status) != 0) return failed(data_path_, "look at");
    out.bytes = static_cast<uint64_t>(status.st_size);
    if (request_.size && out.bytes != *request_.size) {
      remove_both();
      return fail(ErrorKind::kBadFile,
                  "{}: {} bytes came where the hub lists {}: try another "
                  "HF_ENDPOINT",
                  url_.display(), out.bytes, *request_.size);
    }
    if (!info_->sha256.empty() && out.sha256 != info_->sha256) {
      remove_both();
      return fail(
          ErrorKind::kBadFile,
          "{}: what came has the SHA-256 {} and should have {}: it was deleted, download it "
          "again or from another HF_ENDPOINT",
          url_.display(), out.sha256, info_->sha256);
    }
    out.checked = !info_->sha256.empty();
    // The name appears after the bytes: a power cut leaves the whole file or none.
    if (::fsync(descriptor) != 0) return failed(data_path_, "write");
    if (::rename(data_path_.c_str(), request_.path.c_str()) != 0)
      return failed(request_.path, "put the file there");
    const Descriptor folder(
        ::open(folder_of(request_.path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() >= 0) ::fsync(folder.get());
    ::unlink(journal_path_.c_str());
    return {};
  }

  void remove_both() const {
    ::unlink(data_path_.c_str());
    ::unlink(journal_path_.c_str());
  }

  const HttpOptions& http_;
  const DownloadRequest& request_;
  const Url url_;
  const OnProgress& on_progress_;
  const std::string data_path_, journal_path_;
  std::optional<RemoteInfo> info_;
  bool no_ranges_ = false;
  Error error_;
};

}  // namespace

Status check_room(const std::string& folder, uint64_t bytes) {
  struct statvfs disk = {};
  if (::statvfs(folder.c_str(), &disk) != 0) return failed(folder, "look at the disk");
  const uint64_t room = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (room >= bytes) return {};
  return fail(ErrorKind::kTooLarge,
              "{}: {} are needed and {} are free: free some, or use another disk "
              "(HF_HUB_CACHE)",
              folder, size_text(bytes), size_text(room));
}

Result<std::string> hash_file(const std::string& path, const std::atomic<bool>* cancel) {
  SLUICE_ASSIGN(const storage::File file, storage::File::open(path));
  std::vector<uint8_t> buffer(4 << 20);
  Sha256 sha;
  for (uint64_t position = 0; position < file.size();) {
    if (cancel && *cancel) return fail(ErrorKind::kCancelled, "stopped on request");
    const std::span<uint8_t> part(buffer.data(),
                                  std::min<uint64_t>(buffer.size(), file.size() - position));
    SLUICE_TRY(file.read_at(position, part));
    sha.add(part);
    position += part.size();
  }
  return sha.hex();
}

Result<Downloaded> download(const HttpOptions& http, const DownloadRequest& request,
                            const OnProgress& on_progress) {
  SLUICE_ASSIGN(Url url, Url::parse(request.url));
  std::error_code error;
  std::filesystem::create_directories(folder_of(request.path), error);
  if (error)
    return fail(ErrorKind::kIo,
                "{}: cannot make the folder: {}: check its permissions, or set "
                "HF_HUB_CACHE",
                folder_of(request.path), error.message());
  return Download(http, request, std::move(url), on_progress).run();
}

}  // namespace sluice::hub
