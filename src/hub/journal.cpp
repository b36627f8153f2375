// SPDX-License-Identifier: Apache-2.0
#include "hub/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "storage/cache_folder.h"

namespace sluice::hub {
namespace {

constexpr uint64_t kMostJournalBytes = 16 << 20;
constexpr uint64_t kLeastPiece = 256 << 10, kMostPiece = 16 << 20;

tl::unexpected<Error> failed(const std::string& path, const char* what) {
  return fail(ErrorKind::kIo, "{}: cannot {}: {}", path, what, std::strerror(errno));
}

std::string head_line(const JournalHead& head) {
  const nlohmann::ordered_json json = {{"sluice_download", 1},
                                       {"name", head.name},
                                       {"identity", head.identity},
                                       {"size", head.size},
                                       {"piece", head.piece}};
  return json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

bool parse_head(const std::string& line, JournalHead& head) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return false;
  const auto text = [&](const char* key, std::string& to) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) return false;
    to = found->get<std::string>();
    return true;
  };
  const auto number = [&](const char* key, uint64_t& to) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_number_unsigned()) return false;
    to = found->get<uint64_t>();
    return true;
  };
  uint64_t version = 0;
  return number("sluice_download", version) && version == 1 && text("name", head.name) &&
         text("identity", head.identity) && number("size", head.size) &&
         number("piece", head.piece) && head.piece >= kLeastPiece && head.piece <= kMostPiece &&
         head.size > 0 && head.size < (uint64_t{1} << 50);
}

// "FIRST COUNT"; false for anything that is no run of pieces of this file.
bool parse_run(std::string_view line, std::vector<bool>& done) {
  uint64_t first = 0, count = 0;
  const char* const end = line.data() + line.size();
  const auto one = std::from_chars(line.data(), end, first);
  if (one.ec != std::errc() || one.ptr == end || *one.ptr != ' ') return false;
  const auto two = std::from_chars(one.ptr + 1, end, count);
  if (two.ec != std::errc() || two.ptr != end) return false;
  if (first >= done.size() || count == 0 || count > done.size() - first) return false;
  std::fill_n(done.begin() + static_cast<std::ptrdiff_t>(first), count, true);
  return true;
}

// False when the text is no journal.
bool parse(const std::string& text, JournalHead& head, std::vector<bool>& done) {
  size_t end = text.find('\n');
  if (end == std::string::npos || !parse_head(text.substr(0, end), head)) return false;
  done.assign(head.pieces(), false);
  for (size_t begin = end + 1; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    if (end == std::string::npos) break;
    if (!parse_run(std::string_view(text).substr(begin, end - begin), done)) return false;
  }
  return true;
}

Status write_all(const std::string& path, int descriptor, const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = ::write(descriptor, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path, "write");
    written += static_cast<size_t>(n);
  }
  if (::fdatasync(descriptor) != 0) return failed(path, "write");
  return {};
}

}  // namespace

uint64_t piece_size(uint64_t file_bytes) {
  uint64_t piece = kLeastPiece;
  while (piece < kMostPiece && file_bytes / piece > 256) piece *= 2;
  return piece;
}

Result<Journal> Journal::open(const std::string& path, const JournalHead& head) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return failed(path, "open");
  Journal journal(path, descriptor, head);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorKind::kUsage,
                "{} is being downloaded by another process: wait for it, or end it", head.name);
  // The process that had it may just have finished and removed it: then this is no file any more.
  struct stat mine = {}, there = {};
  if (::fstat(descriptor, &mine) != 0 || ::stat(path.c_str(), &there) != 0 ||
      mine.st_ino != there.st_ino)
    return fail(ErrorKind::kUsage, "{} has just been downloaded by another process: start again",
                head.name);

  std::string text;
  if (const auto read = storage::read_small_file(path, kMostJournalBytes)) text = *read;
  JournalHead found;
  if (parse(text, found, journal.done_) && found == head) {
    // What a kill left of a line would otherwise become part of the next one.
    const size_t whole = text.rfind('\n') + 1;
    if (whole < text.size() && ::ftruncate(descriptor, static_cast<off_t>(whole)) != 0)
      return failed(path, "shorten");
    return journal;
  }
  SLUICE_TRY(journal.clear());
  return journal;
}

Journal::~Journal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      head_(std::move(other.head_)),
      done_(std::move(other.done_)) {}

Status Journal::add(const std::vector<uint64_t>& pieces) {
  if (pieces.empty()) return {};
  std::string lines;
  for (size_t i = 0; i < pieces.size();) {
    size_t end = i + 1;
    while (end < pieces.size() && pieces[end] == pieces[end - 1] + 1) ++end;
    lines += fmt::format("{} {}\n", pieces[i], end - i);
    i = end;
  }
  SLUICE_TRY(write_all(path_, descriptor_, lines));
  for (const uint64_t piece : pieces) done_[piece] = true;
  return {};
}

Status Journal::clear() {
  if (::ftruncate(descriptor_, 0) != 0) return failed(path_, "empty");
  done_.assign(head_.pieces(), false);
  return write_all(path_, descriptor_, head_line(head_));
}

Result<JournalSummary> read_journal(const std::string& path) {
  SLUICE_ASSIGN(const std::string text, storage::read_small_file(path, kMostJournalBytes));
  JournalSummary summary;
  std::vector<bool> done;
  if (!parse(text, summary.head, done))
    return fail(ErrorKind::kBadFile, "{}: is not the journal of a download: delete it", path);
  for (size_t i = 0; i < done.size(); ++i)
    if (done[i])
      summary.bytes += std::min(summary.head.piece, summary.head.size - i * summary.head.piece);
  return summary;
}

}  // namespace sluice::hub
