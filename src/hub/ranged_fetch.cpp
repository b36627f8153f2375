// SPDX-License-Identifier: Apache-2.0
#include "hub/ranged_fetch.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

namespace sluice::hub {
namespace {

using Clock = std::chrono::steady_clock;

// Pieces of one request: up to 128 MiB, so that the time between two requests does not count.
constexpr uint64_t kMostPieces = 8;
constexpr size_t kHashBytes = 1 << 20;

}  // namespace

Status write_at(int descriptor, const std::string& path, uint64_t position,
                std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n =
        ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(position));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
      return fail(ErrorKind::kTooLarge,
                  "{}: the disk is full: free some space and start again, the download goes on "
                  "from here",
                  path);
    if (n < 0 && errno == EFBIG)
      return fail(ErrorKind::kTooLarge,
                  "{}: larger than files may be here: raise the limit (ulimit -f), or use another "
                  "file system",
                  path);
    if (n < 0) return fail(ErrorKind::kIo, "{}: cannot write: {}", path, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(n));
    position += static_cast<uint64_t>(n);
  }
  return {};
}

RangedFetch::RangedFetch(Target target, Journal& journal, uint64_t piece)
    : target_(std::move(target)),
      journal_(&journal),
      piece_(piece),
      pieces_(journal.done()),
      direct_(target_.info.url) {
  running_ = target_.connections + 1;
  try {
    threads_.emplace_back([this] { hash(); });
    for (int i = 0; i < target_.connections; ++i) threads_.emplace_back([this] { fetch_runs(); });
  } catch (const std::system_error&) {
    finish(FetchEnd::kFailed,
           {ErrorKind::kTooLarge, "no thread can be started: raise the limit (ulimit -u)"});
    const std::lock_guard lock(mutex_);
    running_ -= target_.connections + 1 - static_cast<int>(threads_.size());
  }
}

RangedFetch::~RangedFetch() {
  stop();
  for (std::thread& thread : threads_) thread.join();
}

void RangedFetch::stop() {
  stop_ = true;
  pieces_.give_up();
}

bool RangedFetch::wait() {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, std::chrono::milliseconds(100), [&] { return running_ == 0; });
}

Status RangedFetch::note() {
  const std::vector<uint64_t> finished = pieces_.collect();
  if (finished.empty()) return {};
  if (::fdatasync(target_.descriptor) != 0)
    return fail(ErrorKind::kIo, "{}: cannot write: {}", target_.path, std::strerror(errno));
  return journal_->add(finished);
}

void RangedFetch::leave() {
  const std::lock_guard lock(mutex_);
  --running_;
  ended_.notify_all();
}

// The first reason counts: the others end because of it.
void RangedFetch::finish(FetchEnd how, Error error) {
  {
    const std::lock_guard lock(mutex_);
    if (end_ == FetchEnd::kWhole) {
      end_ = how;
      error_ = std::move(error);
    }
  }
  stop();
}

Url RangedFetch::address() {
  const std::lock_guard lock(mutex_);
  return direct_;
}

void RangedFetch::fetch_runs() {
  Connection connection(*target_.http);
  while (!stop_) {
    const auto run = pieces_.take(kMostPieces, target_.connections);
    if (!run) break;
    const uint64_t begin = run->first * piece_;
    if (!fetch(connection, begin, std::min(begin + run->count * piece_, target_.info.size))) break;
  }
  leave();
}

Status RangedFetch::check_start(const Response& response, uint64_t position) {
  if (response.status != 206) {
    finish(FetchEnd::kNoRanges);
    return fail(ErrorKind::kCancelled, "no ranges");
  }
  const auto range = parse_content_range(response.header("content-range"));
  if (!range || range->range.first != position)
    return fail(ErrorKind::kBadFile,
                "{}: the server answers with other bytes than asked for: try another address",
                target_.url.display());
  const RemoteInfo& info = target_.info;
  const std::string etag = unquoted_etag(response.header("etag"));
  const auto linked = response.first.find("x-linked-etag");
  const bool other_hash = !info.sha256.empty() && linked != response.first.end() &&
                          unquoted_etag(linked->second) != info.sha256;
  // Where the hash is known, it decides in the end; servers of one network may differ in names.
  if (range->total != info.size || other_hash || (info.sha256.empty() && etag != info.etag)) {
    finish(FetchEnd::kChanged);
    return fail(ErrorKind::kCancelled, "changed");
  }
  return {};
}

bool RangedFetch::fetch(Connection& connection, uint64_t position, uint64_t end) {
  int attempt = 0;
  auto last_byte = Clock::now();
  uint64_t open = position;  // where the piece begins that is not whole yet
  while (position < end) {
    const Url from = address();
    const uint64_t before = position;
    const auto start = [&](const Response& response) -> Status {
      return check_start(response, position);
    };
    const auto sink = [&](std::span<const uint8_t> bytes) -> Status {
      if (bytes.size() > end - position)
        return fail(ErrorKind::kBadFile,
                    "{}: the server sends more than was asked for: try another address",
                    target_.url.display());
      SLUICE_TRY(write_at(target_.descriptor, target_.path, position, bytes));
      position += bytes.size();
      bytes_ += bytes.size();
      while (open < end && position >= std::min(open + piece_, end)) {
        pieces_.finish(open / piece_);
        open = std::min(open + piece_, end);
      }
      return {};
    };
    Result<Response> response = connection.get(from, Range{position, end - 1}, start, sink, &stop_);
    if (position > before) {
      attempt = 0;
      last_byte = Clock::now();
    }
    if (response && response->ok()) {
      if (position < end && position == before) ++attempt;  // an empty answer
      const std::lock_guard lock(mutex_);
      if (const auto url = Url::parse(response->url)) direct_ = *url;
    } else {
      ++attempt;
      bool again = response ? response->transient() : response.error().kind == ErrorKind::kIo;
      const bool direct = from.text() != target_.url.text();
      // The address behind the redirect was good for a while only.
      again |= direct && response && response->status >= 400;
      if (!again) {
        if (!response) {
          finish(FetchEnd::kFailed, response.error());
        } else {
          const Status status = check_answer(connection, target_.url, *response);
          finish(FetchEnd::kFailed, status ? Error{} : status.error());
        }
        return false;
      }
      const std::lock_guard lock(mutex_);
      direct_ = target_.url;
    }
    if (position == end || attempt == 0) continue;
    const auto silent = Clock::now() - last_byte;
    if (attempt >= kTries && silent > std::chrono::seconds(target_.http->stall_seconds)) {
      Error error{ErrorKind::kIo, fmt::format("{}: the server sends nothing: try again later, the "
                                              "download goes on from here",
                                              target_.url.display())};
      if (!response) error = response.error();
      if (response && !response->ok())
        if (const Status status = check_answer(connection, target_.url, *response); !status)
          error = status.error();
      finish(FetchEnd::kFailed, std::move(error));
      return false;
    }
    const int seconds = response ? response->retry_after() : 0;
    if (!rest(std::max(seconds * 1000, rest_before(attempt)), target_.http->cancel, &stop_) &&
        !stop_)
      finish(FetchEnd::kFailed, {ErrorKind::kCancelled, "stopped on request"});
    if (stop_) return false;
  }
  return true;
}

// The pieces come nearly in order, so that what is read here has just been written: the page cache
// has it, and at the end of the transfer the hash is there.
void RangedFetch::hash() {
  std::vector<uint8_t> buffer(kHashBytes);
  const uint64_t size = target_.info.size;
  for (uint64_t position = 0; position < size;) {
    if (position % piece_ == 0 && !pieces_.wait_for(position / piece_)) return leave();
    if (stop_) return leave();
    const uint64_t length =
        std::min({uint64_t{buffer.size()}, piece_ - position % piece_, size - position});
    const ssize_t n =
        ::pread(target_.descriptor, buffer.data(), length, static_cast<off_t>(position));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      finish(FetchEnd::kFailed,
             {ErrorKind::kIo, fmt::format("{}: cannot read back what was written: {}", target_.path,
                                          n < 0 ? std::strerror(errno) : "it became shorter")});
      return leave();
    }
    sha_.add({buffer.data(), static_cast<size_t>(n)});
    position += static_cast<uint64_t>(n);
    if (position % piece_ == 0) fetched_ = pieces_.all_here();
  }
  leave();
}

}  // namespace sluice::hub
