// SPDX-License-Identifier: Apache-2.0
// One file from an address to the disk: several ranges at once, resumed after whatever ended an
// earlier try, checked against its hash.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "hub/http.h"

namespace sluice::hub {

struct DownloadRequest {
  std::string url;
  std::string name;              // for messages and the journal
  std::string path;              // appears when it is whole and right; beside it until then:
                                 // PATH.sluice.incomplete and PATH.sluice.journal
  std::optional<uint64_t> size;  // what a listing promises
  std::string sha256;            // "": what the server says, else none
  int connections = 4;
};

struct DownloadProgress {
  uint64_t done = 0;
  uint64_t total = 0;     // 0: the server does not say
  uint64_t resumed = 0;   // of `done`, from earlier tries
  bool checking = false;  // all bytes are here, the hash is being computed
};

struct Downloaded {
  uint64_t bytes = 0;
  uint64_t fetched = 0;  // of these, now
  std::string sha256;    // of what is on the disk
  bool checked = false;  // against a hash that somebody promised
  std::string etag;      // what the server calls this version; may be ""
};

// hub's own suffixes; the reference client appends to a file PATH.incomplete whatever it holds, so
// that ours, which has holes, must not be called that.
constexpr const char* kIncomplete = ".sluice.incomplete";
constexpr const char* kJournal = ".sluice.journal";

// Errors name the file or address, what is wrong, and what to do. kTooLarge, before anything is
// fetched, when the disk has no room; kBadFile for content that is not what it should be, which is
// then deleted; kCancelled. After any other error, or the death of the process, the same call goes
// on from where it was. `on_progress` is called several times a second, from this thread.
Result<Downloaded> download(const HttpOptions& http, const DownloadRequest& request,
                            const std::function<void(const DownloadProgress&)>& on_progress);

// kTooLarge unless `bytes` more fit on the disk of `folder`, which must exist.
Status check_room(const std::string& folder, uint64_t bytes);
// The SHA-256 of a file.
Result<std::string> hash_file(const std::string& path, const std::atomic<bool>* cancel);

}  // namespace sluice::hub
