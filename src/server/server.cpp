// SPDX-License-Identifier: Apache-2.0
#include "server/server.h"

#include <algorithm>

#include "base/log.h"
#include "server/guard.h"
#include "server/service.h"

namespace sluice::server {
namespace {

bool is_anthropic(const std::string& path) {
  return path.starts_with("/v1/messages");
}

std::string file_name(const std::string& path) {
  return path.substr(path.find_last_of('/') + 1);
}

}  // namespace

struct Server::Impl {
  explicit Impl(const ServerOptions& o) : options(o), guard(o.api_keys, o.hosts, o.origins) {}

  ServerOptions options;
  Guard guard;
  Metrics metrics;
  std::unique_ptr<engine::Scheduler> scheduler;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<Service> service;
  std::unique_ptr<HttpServer> http;  // last: its threads use what is above

  std::optional<HttpResponse> gate(const HttpRequest& request) const;
  void handle(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) const;
};

// What can be told without the body.
std::optional<HttpResponse> Server::Impl::gate(const HttpRequest& request) const {
  const bool anthropic = is_anthropic(request.path);
  const auto refused = [&](const ApiError& error, const char* allow = nullptr) {
    HttpResponse response = to_response(error, anthropic);
    if (allow) response.headers.emplace_back("Allow", allow);
    if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
    const HttpHeaders cors = guard.cors(request);
    response.headers.insert(response.headers.end(), cors.begin(), cors.end());
    return response;
  };
  if (const auto source = guard.check_source(request); !source) return refused(source.error());
  if (request.method == "OPTIONS") {
    HttpResponse response;
    response.status = 204;
    response.headers = guard.cors(request);
    return response;
  }
  const Route* found = nullptr;
  const Route* other = nullptr;
  for (const Route& route : routes()) {
    if (!leads_to(route, request.path)) continue;
    other = &route;
    if (route.method == request.method || (route.method == "GET" && request.method == "HEAD"))
      found = &route;
  }
  // Without a key nobody learns which routes there are.
  if (!found || !found->open)
    if (const auto owner = guard.owner(request); !owner) return refused(owner.error());
  if (!other)
    return refused(
        {404, "there is no such route: docs/server.md lists them", "", "not_found_error", {}});
  if (!found)
    return refused({405, "this route takes " + other->method, "", "invalid_request_error", {}},
                   other->method.c_str());
  return std::nullopt;
}

void Server::Impl::handle(const HttpRequest& request,
                          const std::shared_ptr<Exchange>& exchange) const {
  std::shared_ptr<Exchange> answer = exchange;
  if (HttpHeaders cors = guard.cors(request); !cors.empty())
    answer = with_headers(exchange, std::move(cors));
  const auto route = std::ranges::find_if(routes(), [&](const Route& r) {
    return leads_to(r, request.path) &&
           (r.method == request.method || (r.method == "GET" && request.method == "HEAD"));
  });
  if (route == routes().end()) return;
  const auto owner = guard.owner(request);
  // The JSON library throws where a program's assumption about a document is wrong.
  try {
    route->handle({*service, request, answer, owner.value_or("")});
  } catch (const std::exception& error) {
    spdlog::error("{} {}: {}", request.method, route->path, error.what());
    const ApiError inside{500, "an error inside the server", "", "server_error", {}};
    answer->respond(to_response(inside, is_anthropic(request.path)));
  }
}

Result<std::unique_ptr<Server>> Server::start(engine::Engine& engine,
                                              const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  SLUICE_ASSIGN(impl->scheduler, engine::Scheduler::create(engine, options.scheduler));
  const model::Config& config = engine.model().config();
  const std::string name =
      options.alias.empty() ? file_name(engine.options().model_path) : options.alias;
  impl->machine = std::make_unique<Machine>(engine, *impl->scheduler, name);
  impl->service = std::unique_ptr<Service>(new Service{
      .engine = engine,
      .scheduler = *impl->scheduler,
      .options = impl->options,
      .metrics = impl->metrics,
      .machine = *impl->machine,
      .model = name,
      .limits = {config.vocabulary, engine.context(), options.scheduler.slots},
      .shown = shown_tokens(engine),
      .with_turns =
          config.attention_layers() < config.layers && options.scheduler.checkpoints.count > 0,
      .created = std::time(nullptr)});
  const auto gate = [raw = impl.get()](const HttpRequest& request) {
    auto refusal = raw->gate(request);
    if (refusal && refusal->status >= 400) raw->metrics.refused(refusal->status);
    return refusal;
  };
  const auto handle = [raw = impl.get()](const HttpRequest& request, const auto& exchange) {
    raw->handle(request, exchange);
  };
  const auto refusal = [](int status, const std::string& message) {
    return to_response(
        ApiError{status, message, "", status < 500 ? "invalid_request_error" : "server_error", {}});
  };
  SLUICE_ASSIGN(impl->http, HttpServer::start(options.http, gate, handle, refusal));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
  stop();
}

uint16_t Server::port() const {
  return impl_->http->port();
}

void Server::stop() {
  impl_->scheduler->stop();
  impl_->machine->stop();
  impl_->http->stop(std::chrono::seconds(3));
}

}  // namespace sluice::server
