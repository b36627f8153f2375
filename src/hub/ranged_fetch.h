// SPDX-License-Identifier: Apache-2.0
// The threads of a download: some fetch ranges, one follows and hashes what is there.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "hub/journal.h"
#include "hub/pieces.h"
#include "hub/remote_file.h"
#include "hub/sha256.h"

namespace sluice::hub {

enum class FetchEnd {
  kWhole,     // all pieces are here and hashed
  kFailed,    // see error
  kNoRanges,  // the server sends whole files only
  kChanged,   // the file is another one now
};

class RangedFetch {
 public:
  struct Target {
    const HttpOptions* http;
    Url url;          // where to ask
    RemoteInfo info;  // what it said before
    int descriptor;   // of the file, of info.size bytes
    std::string path;
    int connections;
  };
  // Starts the threads; `journal` says what is there already.
  RangedFetch(Target target, Journal& journal, uint64_t piece);
  ~RangedFetch();

  // Waits up to 100 ms; true when all has ended.
  bool wait();
  // What has been finished since is flushed and then noted in the journal, in this order.
  Status note();
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // fetched now
  bool hashing() const { return fetched_.load(std::memory_order_relaxed); }
  void stop();

  // After the end.
  FetchEnd end() const { return end_; }
  const Error& error() const { return error_; }
  std::string sha256() { return sha_.hex(); }

 private:
  void fetch_runs();
  // Fetches [position, end), whole pieces from the first on; false when all is to end.
  bool fetch(Connection& connection, uint64_t position, uint64_t end);
  Status check_start(const Response& response, uint64_t position);
  void hash();
  void finish(FetchEnd how, Error error = {});
  void leave();
  Url address();

  Target target_;
  Journal* journal_;
  uint64_t piece_;
  Pieces pieces_;
  std::atomic<bool> stop_{false}, fetched_{false};
  std::atomic<uint64_t> bytes_{0};
  Sha256 sha_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable ended_;
  Url direct_;  // where the redirects last ended; the address itself after a failure
  int running_ = 0;
  FetchEnd end_ = FetchEnd::kWhole;
  Error error_;
  std::vector<std::thread> threads_;
};

// All of `bytes` at `position`: kTooLarge for a full disk or a limit, else kIo.
Status write_at(int descriptor, const std::string& path, uint64_t position,
                std::span<const uint8_t> bytes);

}  // namespace sluice::hub
