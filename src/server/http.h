// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 over TCP or TLS, with limits that hold whatever a client does: bytes of header and body,
// time for each, connections. Knows nothing of what is served.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::server {

struct HttpOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;   // 0: any free one
  std::string cert_file;  // PEM; with key_file: TLS
  std::string key_file;
  size_t threads = 4;  // that run handlers
  uint32_t header_bytes = 16 << 10;
  uint64_t body_bytes = 4 << 20;
  size_t connections = 1024;  // beyond, the one that waits longest without a request goes
  std::chrono::seconds header_time{10};  // from a request's first byte to the end of its header
  std::chrono::seconds body_time{30};
  std::chrono::seconds idle_time{60};     // between requests
  std::chrono::seconds write_time{30};    // that a client may take to read a piece
  std::chrono::milliseconds ping{15000};  // silence in a stream until a comment is sent
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;     // without the query
  std::string query;    // without the question mark
  HttpHeaders headers;  // names in lower case
  std::string body;

  // Empty when there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json; charset=utf-8";
  HttpHeaders headers;
};

// The answer to one request: respond(), or begin_stream(), any number of write() and end(). Safe
// from any thread, never waits; what comes after the end or for a client that is gone is ignored.
// Without an answer when the last reference goes, the client gets status 500; a stream without an
// end, the end of the connection. The last reference goes before the HttpServer does.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void respond(HttpResponse response) = 0;
  // `response` without a body. When nothing is written for a while, `ping` is.
  virtual void begin_stream(HttpResponse response, std::string ping) = 0;
  virtual void write(std::string data) = 0;
  virtual void end() = 0;
  // Called once if the client goes before the end; at once if it is gone already.
  virtual void on_gone(std::function<void()> call) = 0;
};

// Adds headers to whatever answer comes.
std::shared_ptr<Exchange> with_headers(std::shared_ptr<Exchange> inner, HttpHeaders headers);

class HttpServer {
 public:
  // Sees every request before its body is read; a response refuses it.
  using Gate = std::function<std::optional<HttpResponse>(const HttpRequest&)>;
  // Called on one of the handler threads.
  using Handler = std::function<void(const HttpRequest&, const std::shared_ptr<Exchange>&)>;
  // The body of an answer to what is no proper request.
  using Refusal = std::function<HttpResponse(int status, const std::string& message)>;

  // kUsage and kIo name host, port or file.
  static Result<std::unique_ptr<HttpServer>> start(const HttpOptions& options, Gate gate,
                                                   Handler handler, Refusal refusal);
  // Ends at once what stop() would have waited for.
  ~HttpServer();

  uint16_t port() const;
  size_t connections() const;
  // No new connections or requests; those under way may end within `time`.
  void stop(std::chrono::milliseconds time);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::server
