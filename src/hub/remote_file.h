// SPDX-License-Identifier: Apache-2.0
// A file at an address, read in ranges without downloading it: for headers.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "hub/http.h"
#include "storage/file.h"

namespace sluice::hub {

// What a first request, for four bytes, tells of a file.
struct RemoteInfo {
  Url url;                       // where the redirects end
  uint64_t size = 0;             // 0: the server does not say
  bool ranges = false;           // it gives parts
  std::string etag;              // of this version; may be ""
  std::string sha256;            // as the hub promises; may be ""
  std::string type;              // "text/html"
  std::string begin;             // its first four bytes, fewer of a shorter file
  std::string identity() const;  // names this content: the hash, or what the server calls it
};

// Beside network errors, after tries: those of check_answer, and kBadFile for an empty file and for
// what is no model although `name` ends in .gguf.
Result<RemoteInfo> look_at(Connection& connection, const Url& url, const std::string& name);
// A server's name for a version of a file, without its quotes.
std::string unquoted_etag(std::string text);

class RemoteFile final : public storage::Reader {
 public:
  // Errors of look_at, and kUnsupported where the server gives no ranges or no size.
  static Result<std::unique_ptr<RemoteFile>> open(HttpOptions http, const std::string& url);

  uint64_t size() const override { return info_.size; }
  const std::string& name() const override { return name_; }
  // Reads ahead: a header that is parsed in small steps takes one or two requests.
  Status read_at(uint64_t offset, std::span<uint8_t> out) const override;
  // Exactly these bytes, in one request. kBadFile beyond the end or when the file has changed.
  Result<std::vector<uint8_t>> read(uint64_t offset, uint64_t length) const;
  uint64_t requests() const { return requests_; }

 private:
  RemoteFile(Connection connection, Url url, RemoteInfo info);
  std::string name_;
  Url url_;
  RemoteInfo info_;
  mutable std::mutex mutex_;  // guards all below
  mutable Connection connection_;
  mutable uint64_t window_at_ = 0;
  mutable std::vector<uint8_t> window_;
  mutable uint64_t requests_ = 0;
};

}  // namespace sluice::hub
