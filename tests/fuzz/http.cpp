// SPDX-License-Identifier: Apache-2.0
// What a client sends, as it stands: every connection
// ends, and what comes back are HTTP answers.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../unit/server/raw_client.h"
#include "server/http.h"

namespace {

using namespace sluice::server;

std::unique_ptr<HttpServer> start() {
  HttpOptions options;
  options.port = 0;
  options.threads = 1;
  options.header_bytes = 1024;
  options.body_bytes = 4096;
  const auto gate = [](const HttpRequest& request) -> std::optional<HttpResponse> {
    if (request.path != "/gate") return std::nullopt;
    return HttpResponse{403, "no", "text/plain", {}};
  };
  const auto handle = [](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
    if (request.body.size() > 4096) std::abort();
    if (request.path == "/stream") {
      exchange->begin_stream({}, ": ping\n\n");
      exchange->write("data: " + request.body + "\n\n");
      exchange->end();
    } else if (request.path != "/nothing") {
      exchange->respond(HttpResponse{200, request.path + request.query + request.body, "", {}});
    }
  };
  const auto refusal = [](int status, const std::string& message) {
    return HttpResponse{status, message, "text/plain", {}};
  };
  auto server = HttpServer::start(options, gate, handle, refusal);
  if (!server) std::abort();
  return std::move(*server);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<HttpServer> server = start();
  std::string_view input(reinterpret_cast<const char*>(data), size);
  sluice::test::RawClient client(server->port());
  client.send(input);
  client.half_close();
  const std::string answer = client.read_all();  // throws when it never ends
  if (!answer.empty() && !answer.starts_with("HTTP/1.1 ")) std::abort();
  return 0;
}
