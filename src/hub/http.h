// SPDX-License-Identifier: Apache-2.0
// One HTTP connection. Redirects are followed here and not by the library, because a token must
// not travel to another host, and because the hub says in the answers on the way what the file is.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "hub/url.h"

namespace sluice::hub {

struct HttpOptions {
  std::string token;         // sent to token_origin alone, and only encrypted or to this machine
  std::string token_origin;  // Url::origin()
  int stall_seconds = 30;    // without a byte: the connection is given up
  const std::atomic<bool>* cancel = nullptr;
};

struct Range {
  uint64_t first, last;  // both inclusive, as in the header
};

// What "Content-Range: bytes 0-99/1000" says.
struct ContentRange {
  Range range;
  std::optional<uint64_t> total;
};
std::optional<ContentRange> parse_content_range(const std::string& text);

struct Response {
  int status = 0;
  std::string url;                             // the last one of the redirects
  std::map<std::string, std::string> headers;  // of the last answer, names in lower case
  std::map<std::string, std::string> first;    // of the first one: the hub speaks there

  std::string header(const std::string& name) const;  // "" when absent
  bool ok() const { return status >= 200 && status < 300; }
  // Another try may succeed: overload, trouble on the server's side.
  bool transient() const { return status == 408 || status == 429 || status >= 500; }
  // Seconds from Retry-After, at most a minute; 0 without.
  int retry_after() const;
};

class Connection {
 public:
  explicit Connection(HttpOptions options);
  ~Connection();
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;

  // Reads the body of a 2xx answer into `sink`, after `start` has seen its headers; an error of
  // either ends the transfer and is returned. The status of other answers is the caller's to judge
  // (check_answer). kCancelled when options.cancel or `stop` became true; kIo for the network's
  // failures, which another try may not meet; other kinds are final.
  using Start = std::function<Status(const Response&)>;
  using Sink = std::function<Status(std::span<const uint8_t>)>;
  Result<Response> get(const Url& url, std::optional<Range> range, const Start& start,
                       const Sink& sink, const std::atomic<bool>* stop = nullptr);
  // A small text whole, after as many tries as it takes or is sensible; kTooLarge beyond `most`
  // bytes, and the errors of check_answer.
  Result<std::string> get_text(const Url& url, size_t most, Response* response = nullptr);

  const HttpOptions& options() const { return options_; }
  // The last get() found no host or could not connect: tried again only in the midst of something.
  bool unreachable() const;
  bool has_token_for(const Url& url) const;

 private:
  struct State;
  Result<Response> get_once(const Url& url, std::optional<Range> range, const Start& start,
                            const Sink& sink, const std::atomic<bool>* stop);
  HttpOptions options_;
  std::unique_ptr<State> state_;
};

// An error for every status but 2xx: what, where and what to do about it.
Status check_answer(const Connection& connection, const Url& asked, const Response& response);

// Waits, or returns false at once when one of the two becomes true.
bool rest(int milliseconds, const std::atomic<bool>* cancel, const std::atomic<bool>* stop);

// What others wrote, fit for a line of ours: without control characters, and not too long.
std::string one_line(const std::string& text);

// How often something is tried, and how long to rest before the try with this number (from 1).
constexpr int kTries = 5;
int rest_before(int attempt);

}  // namespace sluice::hub
