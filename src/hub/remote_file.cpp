// SPDX-License-Identifier: Apache-2.0
#include "hub/remote_file.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "hub/model_name.h"
#include "hub/sha256.h"

namespace sluice::hub {
namespace {

// The vocabulary makes headers of 6 to 20 MB; half of that comes at once.
constexpr uint64_t kWindow = 8 << 20;

std::optional<uint64_t> number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

RemoteInfo describe(const Response& response, Url url) {
  RemoteInfo info{std::move(url)};
  const auto range = parse_content_range(response.header("content-range"));
  info.ranges = response.status == 206 && range && range->total;
  if (info.ranges)
    info.size = *range->total;
  else if (response.status == 200)
    info.size = number(response.header("content-length")).value_or(0);
  info.etag = unquoted_etag(response.header("etag"));
  info.type = response.header("content-type");
  const auto linked = response.first.find("x-linked-etag");
  if (linked != response.first.end()) {
    const std::string hash = unquoted_etag(linked->second);
    if (is_sha256(hash)) info.sha256 = hash;
  }
  return info;
}

// A log-in page, a Git LFS pointer, an archive: found out before gigabytes of it.
Status check_begin(const RemoteInfo& info, const Url& url, const std::string& name) {
  if (!is_gguf_name(name)) return {};
  if (info.begin == "GGUF") return {};
  if (info.type.starts_with("text/html") || info.begin.starts_with("<"))
    return fail(ErrorKind::kBadFile,
                "{}: is a web page, not a model: check the address, HF_ENDPOINT, or a log-in page "
                "of the network",
                url.display());
  if (info.begin == "vers")
    return fail(ErrorKind::kBadFile,
                "{}: is a Git LFS pointer, not the file it stands for: use the address with "
                "/resolve/ in it",
                url.display());
  return fail(ErrorKind::kBadFile, "{}: does not begin as GGUF files do: check the address",
              url.display());
}

}  // namespace

std::string unquoted_etag(std::string text) {
  if (text.starts_with("W/")) text.erase(0, 2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    return text.substr(1, text.size() - 2);
  return text;
}

std::string RemoteInfo::identity() const {
  if (!sha256.empty()) return sha256;
  return etag.empty() ? url.display() : etag;
}

Result<RemoteInfo> look_at(Connection& connection, const Url& url, const std::string& name) {
  constexpr size_t kBegin = 4;
  for (int attempt = 1;; ++attempt) {
    std::string begin;
    std::optional<Response> seen;
    const auto start = [&](const Response& response) -> Status {
      seen = response;
      return {};
    };
    // A server that knows no ranges would go on and send all of it.
    const auto sink = [&](std::span<const uint8_t> bytes) -> Status {
      const bool more = bytes.size() > kBegin - begin.size();
      begin.append(reinterpret_cast<const char*>(bytes.data()),
                   std::min(bytes.size(), kBegin - begin.size()));
      if (more) return fail(ErrorKind::kCancelled, "enough");
      return {};
    };
    Result<Response> response = connection.get(url, Range{0, kBegin - 1}, start, sink);
    if (!response && begin.size() == kBegin) response = *seen;
    const bool again = response
                           ? response->transient()
                           : response.error().kind == ErrorKind::kIo && !connection.unreachable();
    if (again && attempt < kTries) {
      const int seconds = response ? response->retry_after() : 0;
      if (rest(std::max(seconds * 1000, rest_before(attempt)), connection.options().cancel,
               nullptr))
        continue;
    }
    if (!response) return fail(std::move(response.error()));
    if (response->status == 416 || (response->ok() && begin.empty()))
      return fail(ErrorKind::kBadFile, "{}: is empty: check the address", url.display());
    SLUICE_TRY(check_answer(connection, url, *response));
    SLUICE_ASSIGN(Url last, Url::parse(response->url));
    RemoteInfo info = describe(*response, std::move(last));
    info.begin = begin;
    SLUICE_TRY(check_begin(info, url, name));
    return info;
  }
}

RemoteFile::RemoteFile(Connection connection, Url url, RemoteInfo info)
    : name_(url.display()),
      url_(std::move(url)),
      info_(std::move(info)),
      connection_(std::move(connection)) {}

Result<std::unique_ptr<RemoteFile>> RemoteFile::open(HttpOptions http, const std::string& text) {
  SLUICE_ASSIGN(Url url, Url::parse(text));
  Connection connection(std::move(http));
  SLUICE_ASSIGN(RemoteInfo info, look_at(connection, url, url.path()));
  if (!info.ranges)
    return fail(ErrorKind::kUnsupported,
                "{}: the server gives no parts of files: download it first (sluice pull)",
                url.display());
  return std::unique_ptr<RemoteFile>(
      new RemoteFile(std::move(connection), std::move(url), std::move(info)));
}

Status RemoteFile::read_at(uint64_t offset, std::span<uint8_t> out) const {
  if (out.empty()) return {};
  if (offset > info_.size || out.size() > info_.size - offset)
    return fail(ErrorKind::kBadFile, "{}: the file ends at byte {}, {} bytes are needed at byte {}",
                name_, info_.size, out.size(), offset);
  {
    const std::lock_guard lock(mutex_);
    if (offset >= window_at_ && offset + out.size() <= window_at_ + window_.size()) {
      std::memcpy(out.data(), window_.data() + (offset - window_at_), out.size());
      return {};
    }
  }
  const uint64_t length = std::min(std::max<uint64_t>(kWindow, out.size()), info_.size - offset);
  SLUICE_ASSIGN(std::vector<uint8_t> bytes, read(offset, length));
  std::memcpy(out.data(), bytes.data(), out.size());
  const std::lock_guard lock(mutex_);
  window_at_ = offset;
  window_ = std::move(bytes);
  return {};
}

Result<std::vector<uint8_t>> RemoteFile::read(uint64_t offset, uint64_t length) const {
  if (length == 0) return std::vector<uint8_t>();
  if (offset > info_.size || length > info_.size - offset)
    return fail(ErrorKind::kBadFile, "{}: the file ends at byte {}, {} bytes are needed at byte {}",
                name_, info_.size, length, offset);
  const std::lock_guard lock(mutex_);
  std::vector<uint8_t> bytes;
  for (int attempt = 1;; ++attempt) {
    bytes.clear();
    const auto start = [&](const Response& response) -> Status {
      const auto range = parse_content_range(response.header("content-range"));
      if (response.status != 206 || !range || range->range.first != offset ||
          range->total != info_.size || unquoted_etag(response.header("etag")) != info_.etag)
        return fail(ErrorKind::kBadFile,
                    "{}: the file changes, or the server answers with other bytes than asked for: "
                    "start again",
                    name_);
      return {};
    };
    const auto sink = [&](std::span<const uint8_t> more) -> Status {
      if (bytes.size() + more.size() > length)
        return fail(ErrorKind::kBadFile, "{}: the server sends more than was asked for", name_);
      bytes.insert(bytes.end(), more.begin(), more.end());
      return {};
    };
    ++requests_;
    Result<Response> response =
        connection_.get(url_, Range{offset, offset + length - 1}, start, sink);
    if (response && response->ok() && bytes.size() == length) return bytes;
    const bool again = response ? response->transient() || response->ok()
                                : response.error().kind == ErrorKind::kIo;
    if (again && attempt < kTries &&
        rest(rest_before(attempt), connection_.options().cancel, nullptr))
      continue;
    if (!response) return fail(std::move(response.error()));
    SLUICE_TRY(check_answer(connection_, url_, *response));
    return fail(ErrorKind::kIo, "{}: {} of {} bytes came: try again", name_, bytes.size(), length);
  }
}

}  // namespace sluice::hub
